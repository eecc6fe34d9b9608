"""Which library does each cleaning pass right.

Usage:
    python -m benchmarks.passes

Prints a Markdown table; ``benchmarks/results/passes.md`` keeps one. Each small graph of
``tests/untidy.py`` was made for one pass; a cell holds the nodes that a library leaves, with a
mark where the outputs differ or the result does not load. The last column is what Sprat does.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import onnx
from tests.untidy import Untidy, untidy

from sprat.errors import SpratError
from sprat.graph.passes import PASSES, quiet
from sprat.graph.proof import prepare
from sprat.graph.simplify import simplify
from sprat.graph.transforms import copy_of, ir_pass, onnxoptimizer_pass, slim

#: What onnx-ir has, in the order in which it would be used.
_IR_PASSES = (
    "LiftConstantsToInitializersPass",
    "IdentityEliminationPass",
    "CommonSubexpressionEliminationPass",
    "DeduplicateHashedInitializersPass",
    "RemoveUnusedNodesPass",
)
#: onnxoptimizer's names where they are not those of the table.
_OTHER_NAMES = {
    "deduplicate_initializers": "eliminate_duplicate_initializer",
    "lift_constants": "extract_constant_to_initializer",
    "fuse_matmul_add_into_gemm": "fuse_matmul_add_bias_into_gemm",
}

Library = Callable[[onnx.ModelProto, str], onnx.ModelProto]


def _onnxslim(model: onnx.ModelProto, _step: str) -> onnx.ModelProto:
    return slim()(model)


def _onnxscript(model: onnx.ModelProto, _step: str) -> onnx.ModelProto:
    from onnxscript import optimizer

    return optimizer.optimize(copy_of(model))  # type: ignore[no-any-return]


def _onnx_ir(model: onnx.ModelProto, _step: str) -> onnx.ModelProto:
    for name in _IR_PASSES:
        model = ir_pass(name)(model)
    return model


def _onnxoptimizer(model: onnx.ModelProto, step: str) -> onnx.ModelProto:
    import onnxoptimizer

    name = _OTHER_NAMES.get(step, step)
    return (
        onnxoptimizer_pass(name)(model) if name in onnxoptimizer.get_available_passes() else model
    )


def _sprat(model: onnx.ModelProto, step: str) -> onnx.ModelProto:
    return simplify(model, only=[step]).model


LIBRARIES: dict[str, Library] = {
    "onnxslim": _onnxslim,
    "onnxscript": _onnxscript,
    "onnx-ir": _onnx_ir,
    "onnxoptimizer": _onnxoptimizer,
    "Sprat": _sprat,
}


def cell(case: Untidy, library: Library) -> str:
    """Return the nodes and initializers that a library leaves, or what went wrong."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = library(case.model, case.step)
        _, wrong = prepare(case.model).difference(found)
    except SpratError:
        return "does not load"
    except Exception as error:  # whatever a library raises is the finding
        return type(error).__name__
    count = f"{len(found.graph.node)} + {len(found.graph.initializer)}"
    return f"{count} wrong" if wrong else count


def main() -> None:
    quiet()
    logging.disable(logging.CRITICAL)
    names = [f"{n} {version(n.lower())}" for n in LIBRARIES]
    print(f"Nodes + initializers left; numpy {np.__version__}, onnx {onnx.__version__}.\n")
    print(f"| graph | nodes | right | {' | '.join(names)} | by |")
    print(f"|---|---:|---:|{'---:|' * len(names)}---|")
    for case in untidy():
        row = [cell(case, library) for library in LIBRARIES.values()]
        library = PASSES[case.step].library
        before = len(case.model.graph.node)
        print(
            f"| {case.name} | {before} | {case.nodes} | {' | '.join(row)} | {library} |", flush=True
        )


if __name__ == "__main__":
    main()
