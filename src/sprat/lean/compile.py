"""From an ONNX model to a plan and its weights."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from sprat.errors import LeanUnsupportedError, OptionError
from sprat.lean import folding
from sprat.lean.builder import Builder
from sprat.lean.nodes import ELSEWHERE, MISFIT, Node, read_nodes
from sprat.lean.operators import OPERATORS
from sprat.lean.plan import Plan, Type
from sprat.lean.values import Constant, Value, View
from sprat.model.nodes import dtype_name, shown
from sprat.progress import Progress, silent

_TYPES: dict[int, Type] = {
    TensorProto.FLOAT: "float32",
    TensorProto.INT32: "int32",
    TensorProto.INT64: "int64",
    TensorProto.UINT8: "uint8",
    TensorProto.BOOL: "bool",
}
#: Floats that a plan computes as float32, and so cannot give back.
_OTHER_FLOATS = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
#: Operators that do with whole numbers what they do with others.
_WHOLE = frozenset(
    {"Cast", "Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split"}
    | {"Squeeze", "Transpose", "Unsqueeze"}
)
#: What to do about an output of another type.
_FLOATS = "Let the model end in float32, or use ONNX Runtime Web for it."
#: Float32 of the memory: 1 GB, far beyond what a page should take.
_LARGEST = 1 << 28


@dataclass(frozen=True)
class Compiled:
    """A model as the lean runtime takes it.

    Attributes:
        plan: What is executed.
        weights: The file that the plan's constants point into.
    """

    plan: Plan
    weights: bytes


def compile_model(
    model: onnx.ModelProto,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    progress: Progress = silent,
) -> Compiled:
    """Compile a model.

    Args:
        model: A checked model (:func:`sprat.model.load.load`); it is not changed.
        shapes: Shapes of inputs by name. Without one a dynamic first axis becomes 1.
        progress: Told how many nodes are lowered.

    Returns:
        The plan and the weights; the same for the same model.

    Raises:
        LeanUnsupportedError: A node, an input or an output that the lean runtime cannot do; the
            error names it.
        OptionError: A shape does not fit its input.
    """
    nodes = read_nodes(model)
    builder = Builder(kept=frozenset(v.name for v in model.graph.output))
    users: dict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        for name in filter(None, node.inputs):
            users[name].append(node)
    builder.users = dict(users)
    for tensor in model.graph.initializer:
        builder.values[tensor.name] = folding.read_tensor(tensor)
    inputs = _inputs(builder, model, shapes or {})
    for index, node in enumerate(nodes):
        progress("compiling", index, len(nodes))
        _lower(builder, node)
    progress("compiling", len(nodes), len(nodes))
    outputs = [(v.name, _output(builder, v)) for v in model.graph.output]
    plan, weights = builder.assemble(inputs, outputs)
    if plan.memory > _LARGEST:
        raise LeanUnsupportedError(
            f"a run takes {plan.memory * 4 / 1e9:.1f} GB of memory; {_LARGEST * 4 / 1e9:.1f} GB "
            "are the most in the lean runtime.",
            where=f"graph {shown(model.graph.name)}",
            hint="Give the input a smaller shape (--shape), or use ONNX Runtime Web.",
        )
    return Compiled(plan, weights)


def _inputs(
    builder: Builder, model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]
) -> list[tuple[str, Type, View]]:
    found: list[tuple[str, Type, View]] = []
    for value in model.graph.input:
        if value.name in builder.values:
            continue
        kind = value.type.tensor_type
        if kind.elem_type not in _TYPES or not kind.HasField("shape"):
            raise LeanUnsupportedError(
                f"an input of type {dtype_name(kind.elem_type)}, or without a shape, is not there "
                "in the lean runtime.",
                where=f"input {shown(value.name)}",
                hint=ELSEWHERE,
            )
        view = builder.new(_shape(value, shapes.get(value.name)))
        view.storage.integers = kind.elem_type != TensorProto.FLOAT
        builder.values[value.name] = view
        found.append((value.name, _TYPES[kind.elem_type], view))
    unknown = set(shapes) - {name for name, _, _ in found}
    if unknown or not found:
        names = ", ".join(shown(name) for name, _, _ in found) or "none"
        raise OptionError(f"there is no input {', '.join(map(shown, unknown))}; inputs: {names}.")
    return found


def _shape(value: onnx.ValueInfoProto, given: Sequence[int] | None) -> tuple[int, ...]:
    """Return an input's shape without dynamic axes."""
    said = [d.dim_value if d.HasField("dim_value") else 0 for d in value.type.tensor_type.shape.dim]
    fixed = [d.HasField("dim_value") for d in value.type.tensor_type.shape.dim]
    if given is not None:
        fits = len(given) == len(said) and all(
            not f or g == s for g, s, f in zip(given, said, fixed, strict=True)
        )
        if not fits or min(given, default=1) < 1:
            wanted = "x".join(str(s) if f else "?" for s, f in zip(said, fixed, strict=True))
            raise OptionError(
                f"{'x'.join(map(str, given))} does not fit {wanted}.", where=shown(value.name)
            )
        return tuple(given)
    if fixed and not fixed[0]:
        said[0] = 1
    if min(said, default=1) < 1:
        raise LeanUnsupportedError(
            f"axis {min(range(len(said)), key=said.__getitem__)} is dynamic or empty; the lean "
            "runtime lays out its memory ahead.",
            where=f"input {shown(value.name)}",
            hint="Give the shape: --shape NAME=1x3x224x224.",
        )
    return tuple(said)


def _output(builder: Builder, declared: onnx.ValueInfoProto) -> View:
    """Return an output dense in ONNX's order, in memory of its own."""
    value = builder.values[declared.name]
    where = f"output {shown(declared.name)}"
    if (kind := _kind(value, declared)) != "float32":
        raise LeanUnsupportedError(
            f"an output of type {kind} is not there in the lean runtime.",
            where=where,
            hint=_FLOATS,
        )
    if isinstance(value, View) and value.storage.integers:
        raise LeanUnsupportedError(
            "an output of whole numbers is not there in the lean runtime.",
            where=where,
            hint=_FLOATS,
        )
    try:
        return builder.resident(value) if isinstance(value, Constant) else builder.dense(value)
    except LeanUnsupportedError as error:
        raise LeanUnsupportedError(
            f"{error.what} in the lean runtime.", where=where, hint=ELSEWHERE
        ) from error


def _kind(value: Value, declared: onnx.ValueInfoProto) -> str:
    """Return an output's type in the model: within a plan every float is a float32."""
    if isinstance(value, Constant):
        return str(value.expanded.dtype)
    said = declared.type.tensor_type.elem_type
    return dtype_name(said) if said in _OTHER_FLOATS else "float32"


def _lower(builder: Builder, node: Node) -> None:
    """Compute a node that is known, or lower it to steps."""
    if node.outputs and node.outputs[0] in builder.done:
        return
    values = [builder.values.get(name) for name in node.inputs]
    if node.op == "Constant":
        builder.values[node.outputs[0]] = _constant(node)
        return
    if node.op in ("Shape", "Size") and values[0] is not None:
        said = folding.shape_node(node, values[0])
        assert said is not None
        builder.values[node.outputs[0]] = said
        return
    known = [v for v in values if isinstance(v, Constant)]
    if len(known) == sum(1 for name in node.inputs if name):
        _fold(builder, node, [v if isinstance(v, Constant) else None for v in values])
        return
    lower = OPERATORS.get(node.op)
    if lower is None:
        raise node.refused("the operator is not there")
    whole = [v for v in values if isinstance(v, View) and v.storage.integers]
    if whole and node.op not in _WHOLE:
        raise node.refused("arithmetic of whole numbers is not there")
    begun = len(builder.drafts)
    try:
        lower(builder, node)
    except LeanUnsupportedError as error:
        if error.where:
            raise
        raise node.refused(error.what) from error
    except (ValueError, IndexError, KeyError, OverflowError, ZeroDivisionError) as error:
        what = f"its inputs or attributes do not fit together ({error})"
        raise node.refused(what, hint=MISFIT) from error
    fields = [value for draft in builder.drafts[begun:] for value in draft.fields.values()]
    if not all(math.isfinite(value) for value in fields if isinstance(value, float)):
        raise node.refused("a number that is infinite or none (NaN) is not there")


def _fold(builder: Builder, node: Node, values: list[Constant | None]) -> None:
    first = values[0] if values else None
    if node.op == "DequantizeLinear":
        builder.values[node.outputs[0]] = folding.dequantized(node, values)
    elif node.op == "Identity" and first is not None:
        builder.values[node.outputs[0]] = first
    elif node.op == "Transpose" and first is not None:
        axes = node.integers("perm", range(len(first.shape))[::-1])
        builder.values[node.outputs[0]] = first.seen(lambda a: a.transpose(axes))
    else:
        for name, value in zip(node.outputs, folding.evaluate(node, values), strict=True):
            builder.values[name] = value


def _constant(node: Node) -> Constant:
    if "value" in node.attributes:
        return folding.read_tensor(node.attributes["value"])
    for name, kind in (("float", np.float32), ("int", np.int64)):
        for key in (f"value_{name}", f"value_{name}s"):
            if key in node.attributes:
                return Constant(np.asarray(node.attributes[key], kind))
    raise node.refused("sparse and text constants are not there")
