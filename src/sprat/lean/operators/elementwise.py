"""Operators that work element by element."""

from __future__ import annotations

import numpy as np

from sprat.lean import plan
from sprat.lean.builder import Builder
from sprat.lean.nodes import Node
from sprat.lean.operators import activation
from sprat.lean.operators.activation import Function
from sprat.lean.operators.registry import lowers
from sprat.lean.values import Constant, Shape, Value, View

_KINDS: dict[str, plan.Binary] = {
    "Add": "add",
    "Sub": "sub",
    "Mul": "mul",
    "Div": "div",
    "Min": "min",
    "Max": "max",
    "Sum": "add",
    "PRelu": "prelu",
    "Pow": "pow",
}
_COMMUTING = frozenset({"add", "mul", "min", "max"})


@lowers(*activation.names())
def unary(builder: Builder, node: Node) -> None:
    """Lower a function of one element."""
    function = activation.function_of(builder, node)
    assert function is not None
    gate = _gate(builder, node, function)
    function, taken = (function, None) if gate is None else gate
    builder.finish(node, activation.apply(builder, function, builder.view(node, 0)), taken)


@lowers("Add", "Sub", "Mul", "Div", "Min", "Max", "Sum", "PRelu", "Pow", "Mean")
def binary(builder: Builder, node: Node) -> None:
    """Lower a function of two or more tensors that broadcast."""
    kind = "add" if node.op == "Mean" else _KINDS[node.op]
    _refuse_legacy(node)
    values = [builder.value(node, i) for i in range(len(node.inputs))]
    if len(values) == 1:
        return builder.finish(node, values[0])
    found: Value = values[0]
    scalar = _affine(kind, values) if len(values) == 2 else None
    if scalar is not None:
        x, function = scalar
        return builder.finish(node, activation.apply(builder, function, x))
    fused = activation.following(builder, node) if node.op != "Mean" else None
    limits = None if fused is None else fused[0].limits
    taken = None if fused is None or limits is None else fused[1]
    for index, value in enumerate(values[1:]):
        last = index == len(values) - 2
        found = combine(builder, kind, found, value, (last and limits) or (None, None))
    if node.op == "Mean":
        found = activation.apply(builder, Function("affine", 1 / len(values), 0.0), _view(found))
    return builder.finish(node, found, taken)


def combine(
    builder: Builder,
    kind: plan.Binary,
    first: Value,
    second: Value,
    limits: tuple[float | None, float | None] = (None, None),
) -> View:
    """Add the step of a function of two tensors that broadcast."""
    a, b = (builder.resident(v) if isinstance(v, Constant) else v for v in (first, second))
    shape = tuple(int(d) for d in np.broadcast_shapes(a.shape, b.shape))
    if kind in _COMMUTING and a.shape != shape and b.shape == shape:
        a, b = b, a
    full = [v for v in (a, b) if v.shape == shape and 0 not in v.strides]
    computed = [v for v in full if not v.storage.resident] or full
    order = computed[0].order if computed else tuple(range(len(shape)))
    return builder.walk(kind, a, b, builder.new(shape, order), limits)


def _view(value: Value) -> View:
    assert isinstance(value, View)
    return value


def _refuse_legacy(node: Node) -> None:
    """Refuse what operator sets before 7 said in another way."""
    if node.opset < 7 and (node.attributes.get("broadcast") or node.attributes.get("axis")):
        raise node.refused(
            f"broadcasting as in operator set {node.opset} is not there in the lean runtime",
            "attributes broadcast, axis",
            "Export the model again with operator set 13 or later.",
        )


def _affine(kind: plan.Binary, values: list[Value]) -> tuple[View, Function] | None:
    """Return the function of one tensor that a step with one known number is."""
    numbers = [_number(v) for v in values]
    left, right = values
    if isinstance(left, View) and numbers[1] is not None and _keeps(left.shape, right.shape):
        n = numbers[1]
        found = {
            "add": Function("affine", 1.0, n),
            "sub": Function("affine", 1.0, -n),
            "mul": Function("affine", n, 0.0),
            "pow": Function("square") if n == 2 else Function("power", n),
        }
        if kind == "pow" and n == 0.5:
            return left, Function("sqrt")
        return (left, found[kind]) if kind in found and np.isfinite(n) else None
    if isinstance(right, View) and numbers[0] is not None and _keeps(right.shape, left.shape):
        n = numbers[0]
        found = {
            "add": Function("affine", 1.0, n),
            "sub": Function("affine", -1.0, n),
            "mul": Function("affine", n, 0.0),
            "div": Function("reciprocal", n),
        }
        return (right, found[kind]) if kind in found and np.isfinite(n) else None
    return None


def _number(value: Value) -> float | None:
    """Return the one number that a constant is; None for what is not known, or more."""
    if isinstance(value, View) or value.values.size != 1:
        return None
    return float(value.expanded.reshape(-1)[0])


def _keeps(shape: Shape, other: Shape) -> bool:
    """Say whether a number of shape ``other`` leaves a tensor's rank as it is."""
    return len(other) <= len(shape)


def _gate(builder: Builder, node: Node, function: Function) -> tuple[Function, Node] | None:
    """Return the function that a gate times its own input is, with the product's node."""
    user = builder.only_user(node.outputs[0])
    pair = {node.inputs[0], node.outputs[0]}
    if user is None or user.op != "Mul" or len(user.inputs) != 2 or set(user.inputs) != pair:
        return None
    if function.kind == "sigmoid":
        return Function("silu"), user
    sixth = function.kind == "hardsigmoid" and abs((function.a or 0) * 6 - 1) < 1e-6
    return (Function("hardswish"), user) if sixth and function.b == 0.5 else None
