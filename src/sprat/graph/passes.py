"""The cleaning passes by name, each done by the library that does it right.

Which library does which pass was measured by ``benchmarks/simplify.py``. The names are those of
onnxoptimizer where it has one.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import onnx

#: Loads in every ONNX Runtime Web since 1.14; per-channel scales need 13 or later.
TARGET_OPSET = 17

Transform = Callable[[onnx.ModelProto], onnx.ModelProto]


@dataclass(frozen=True)
class Pass:
    """One cleaning pass.

    Attributes:
        name: Its name on the command line.
        description: What it does, in one line.
        library: Who does it.
        run: Returns a new model; the given one stays as it is.
        needed: Kept although it does not make the model smaller, because later steps need it.
    """

    name: str
    description: str
    library: str
    run: Transform
    needed: bool = False


def _ir_pass(name: str, **options: Any) -> Transform:
    def run(model: onnx.ModelProto) -> onnx.ModelProto:
        import onnx_ir as ir
        from onnx_ir.passes import common

        tree = ir.from_proto(model)
        getattr(common, name)(**options)(tree)
        return ir.to_proto(tree)

    return run


def _rules(*names: str) -> Transform:
    def run(model: onnx.ModelProto) -> onnx.ModelProto:
        from onnxscript.rewriter import rewrite
        from onnxscript.rewriter.rules import common

        rules: list[Any] = [getattr(common, name) for name in names]
        return rewrite(_copy(model), pattern_rewrite_rules=rules)  # type: ignore[no-any-return]

    return run


def _onnxoptimizer(name: str) -> Transform:
    def run(model: onnx.ModelProto) -> onnx.ModelProto:
        import onnxoptimizer

        return onnxoptimizer.optimize(model, [name])  # type: ignore[no-any-return]

    return run


def _fold_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnx_ir as ir
    from onnxscript import optimizer

    tree = ir.from_proto(model)
    optimizer.fold_constants(tree)
    optimizer.remove_unused_nodes(tree)
    return ir.to_proto(tree)


def _slim(*without: str) -> Transform:
    def run(model: onnx.ModelProto) -> onnx.ModelProto:
        import onnxslim

        with redirect_stdout(io.StringIO()):
            return onnxslim.slim(  # type: ignore[no-any-return]
                _copy(model), skip_optimizations=list(without) or None, verbose=False
            )

    return run


def _raise_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    standard = next((o for o in model.opset_import if o.domain in ("", "ai.onnx")), None)
    if standard is None or standard.version >= TARGET_OPSET:
        return model
    return onnx.version_converter.convert_version(model, TARGET_OPSET)


def strip_metadata(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop inferred shapes, doc strings and exporters' notes; the model's own metadata stay."""
    out = _copy(model)
    del out.graph.value_info[:]
    del out.graph.metadata_props[:]
    out.graph.ClearField("doc_string")
    for node in out.graph.node:
        node.ClearField("doc_string")
        del node.metadata_props[:]
    for tensor in out.graph.initializer:
        tensor.ClearField("doc_string")
        del tensor.metadata_props[:]
    for value in (*out.graph.input, *out.graph.output):
        value.ClearField("doc_string")
        del value.metadata_props[:]
    return out


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    out = onnx.ModelProto()
    out.CopyFrom(model)
    return out


_ALL = (
    Pass(
        "strip_metadata",
        "drop inferred shapes, doc strings and exporters' notes",
        "sprat",
        strip_metadata,
    ),
    Pass(
        "lift_constants",
        "turn Constant nodes into initializers",
        "onnx-ir",
        _ir_pass("LiftConstantsToInitializersPass", lift_all_constants=True, size_limit=0),
    ),
    Pass(
        "eliminate_deadend",
        "drop nodes whose results nobody uses",
        "onnx-ir",
        _ir_pass("RemoveUnusedNodesPass"),
    ),
    Pass(
        "eliminate_unused_initializer",
        "drop initializers that nobody uses",
        "onnxoptimizer",
        _onnxoptimizer("eliminate_unused_initializer"),
    ),
    Pass(
        "eliminate_identity",
        "drop Identity nodes",
        "onnx-ir",
        _ir_pass("IdentityEliminationPass"),
    ),
    Pass(
        "eliminate_nop_dropout",
        "drop Dropout, which does nothing in inference",
        "onnxslim",
        _slim("constant_folding", "graph_fusion", "subexpression_elimination", "weight_tying"),
    ),
    Pass(
        "eliminate_nop_pad",
        "drop Pad by zero",
        "onnxoptimizer",
        _onnxoptimizer("eliminate_nop_pad"),
    ),
    Pass(
        "eliminate_nop_transpose",
        "drop Transpose that keeps the order of the axes",
        "onnxoptimizer",
        _onnxoptimizer("eliminate_nop_transpose"),
    ),
    Pass(
        "eliminate_nop_cast",
        "drop Cast to the same type",
        "onnxoptimizer",
        _onnxoptimizer("eliminate_nop_cast"),
    ),
    Pass(
        "fold_constants",
        "compute what does not depend on the input",
        "onnxscript",
        _fold_constants,
    ),
    Pass(
        "fuse_bn_into_conv",
        "fold BatchNormalization into the Conv, ConvTranspose or Gemm before it",
        "onnxscript",
        _rules(
            "fuse_batchnorm_into_conv_rule",
            "fuse_batchnorm_into_conv_transpose_rule",
            "fuse_batchnorm_into_gemm_rule",
        ),
    ),
    Pass(
        "fuse_pad_into_conv",
        "fold Pad into the Conv behind it",
        "onnxscript",
        _rules("fuse_pad_into_conv_rule"),
    ),
    Pass(
        "fuse_consecutive_transposes",
        "merge Transpose behind Transpose",
        "onnxscript",
        _rules("transpose_transpose_rule"),
    ),
    Pass(
        "fuse_consecutive_squeezes",
        "merge Squeeze behind Squeeze",
        "onnxoptimizer",
        _onnxoptimizer("fuse_consecutive_squeezes"),
    ),
    Pass(
        "fuse_consecutive_reshapes",
        "merge Reshape behind Reshape",
        "onnxscript",
        _rules("reshape_reshape_rule"),
    ),
    Pass(
        "fuse_transpose_into_gemm",
        "fold Transpose into the Gemm behind it",
        "onnxoptimizer",
        _onnxoptimizer("fuse_transpose_into_gemm"),
    ),
    Pass(
        "fuse_matmul_add_into_gemm",
        "merge MatMul and Add of matrices into Gemm",
        "onnxscript",
        _rules("matmul_add_to_gemm_rule"),
    ),
    Pass(
        "slim",
        "onnxslim's own round of shape folding, fusion and elimination",
        "onnxslim",
        _slim(),
    ),
    Pass(
        "eliminate_common_subexpression",
        "compute equal things once",
        "onnx-ir",
        _ir_pass("CommonSubexpressionEliminationPass"),
    ),
    Pass(
        "deduplicate_initializers",
        "keep equal initializers once",
        "onnx-ir",
        _ir_pass("DeduplicateHashedInitializersPass"),
    ),
    Pass(
        "raise_opset",
        f"raise the opset to {TARGET_OPSET}, which per-channel integers need",
        "onnx",
        _raise_opset,
        needed=True,
    ),
)

#: The passes by name, in the order in which they run.
PASSES: dict[str, Pass] = {p.name: p for p in _ALL}


def quiet() -> None:
    """Keep the libraries' loggers from writing to a stranger's screen."""
    for name in ("onnxscript", "onnx_ir", "onnxslim", "onnxoptimizer"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
