"""Bridges from the libraries' own ways of calling a pass to one: a model in, a new model out."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from typing import Any

import onnx

#: Loads in every ONNX Runtime Web since 1.14; per-channel scales need 13 or later.
TARGET_OPSET = 17
_FALLBACK_OPSET = 13
#: The IR version from which an initializer need not be an input, and the one of opset 17.
_FIRST_IR_WITHOUT = 4
_TARGET_IR = 8

Transform = Callable[[onnx.ModelProto], onnx.ModelProto]


def take_weights_out_of_inputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Take initializers out of the list of inputs, by onnx-ir.

    Before IR version 4 every initializer had to be in that list (onnx, docs/IR.md), and new ones
    would be missing there: such a model becomes one of version 8, which fits opset 17.
    """
    out = ir_pass("RemoveInitializersFromInputsPass")(model)
    if out.ir_version < _FIRST_IR_WITHOUT:
        out.ir_version = _TARGET_IR
    return out


def ir_pass(name: str, **options: Any) -> Transform:
    """Return a pass of ``onnx_ir.passes.common`` as a function."""

    def run(model: onnx.ModelProto) -> onnx.ModelProto:
        import onnx_ir as ir
        from onnx_ir.passes import common

        tree = ir.from_proto(copy_of(model))  # the tree shares tensors with its source
        getattr(common, name)(**options)(tree)
        return ir.to_proto(tree)

    return run


def rules(*names: str) -> Transform:
    """Return rewrite rules, or makers of rule sets, of onnxscript as a function."""

    def run(model: onnx.ModelProto) -> onnx.ModelProto:
        from onnxscript.rewriter import rewrite
        from onnxscript.rewriter.rules import common

        found = [getattr(common, name) for name in names]
        chosen = [rule for entry in found for rule in (entry() if callable(entry) else [entry])]
        return rewrite(copy_of(model), pattern_rewrite_rules=chosen)  # type: ignore[no-any-return]

    return run


def onnxoptimizer_pass(name: str) -> Transform:
    """Return a pass of onnxoptimizer as a function."""

    def run(model: onnx.ModelProto) -> onnx.ModelProto:
        import onnxoptimizer

        return onnxoptimizer.optimize(model, [name])  # type: ignore[no-any-return]

    return run


def fold_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Compute what does not depend on the input, by onnxscript."""
    import onnx_ir as ir
    from onnxscript import optimizer

    tree = ir.from_proto(copy_of(model))
    optimizer.fold_constants(tree)
    optimizer.remove_unused_nodes(tree)
    return ir.to_proto(tree)


def slim(*without: str, patterns_without: Sequence[str] = ()) -> Transform:
    """Return onnxslim as a function.

    Args:
        without: Optimizations of it that are left out.
        patterns_without: Patterns of its fusions that are left out.
    """

    def run(model: onnx.ModelProto) -> onnx.ModelProto:
        import onnxslim

        with redirect_stdout(io.StringIO()):  # its logger prints
            return onnxslim.slim(  # type: ignore[no-any-return]
                copy_of(model),
                skip_optimizations=list(without) or None,
                skip_fusion_patterns=list(patterns_without) or None,
                verbose=False,
            )

    return run


def with_shapes(transform: Transform) -> Transform:
    """Return a pass that sees inferred shapes, those that follow from computed shapes included."""

    def run(model: onnx.ModelProto) -> onnx.ModelProto:
        return transform(onnx.shape_inference.infer_shapes(model, data_prop=True))

    return run


def raise_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """Raise the opset to 17, or to 13 where an operator has no way to 17."""
    from onnx.version_converter import ConvertError, convert_version

    standard = next((o for o in model.opset_import if o.domain in ("", "ai.onnx")), None)
    if standard is None or standard.version >= TARGET_OPSET:
        return model
    try:
        return convert_version(model, TARGET_OPSET)
    except (ConvertError, RuntimeError):
        if standard.version >= _FALLBACK_OPSET:
            raise
        return convert_version(model, _FALLBACK_OPSET)


def strip_metadata(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop inferred shapes, doc strings and exporters' notes; the model's own metadata stay."""
    out = strip_notes(model)
    del out.graph.value_info[:]
    return out


def strip_notes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop doc strings and exporters' notes, but not inferred shapes, which passes need."""
    out = copy_of(model)
    del out.graph.metadata_props[:]
    out.graph.ClearField("doc_string")
    graph = out.graph
    parts: list[Any] = [*graph.node, *graph.initializer, *graph.value_info]
    for part in (*parts, *graph.input, *graph.output):
        part.ClearField("doc_string")
        del part.metadata_props[:]
    return out


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that a library may change."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    return out
