"""Activations: as functions of their own, and taken in by the step before them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sprat.lean import plan
from sprat.lean.builder import Builder
from sprat.lean.nodes import Node
from sprat.lean.values import Constant, View


@dataclass(frozen=True)
class Function:
    """A function of one element with its parameters, as the kernel takes them.

    Attributes:
        kind: The kernel's name for it.
        a: First parameter; None for minus infinity.
        b: Second parameter; None for infinity.
    """

    kind: plan.Unary
    a: float | None = None
    b: float | None = None

    @property
    def limits(self) -> tuple[float | None, float | None] | None:
        """The limits that it is, or None where it is another function."""
        return (self.a, self.b) if self.kind == "clip" else None

    @property
    def fused(self) -> plan.Activation:
        """XNNPACK's activation that it is, or ``none``."""
        known: dict[tuple[float | None, float | None] | None, plan.Activation] = {
            (0.0, None): "relu",
            (0.0, 6.0): "relu6",
        }
        return known.get(self.limits, "none")


_PLAIN: dict[str, Function] = {
    "Relu": Function("clip", 0.0),
    "Sigmoid": Function("sigmoid"),
    "HardSwish": Function("hardswish"),
    "Tanh": Function("tanh"),
    "Erf": Function("erf"),
    "Exp": Function("exp"),
    "Sqrt": Function("sqrt"),
    "Abs": Function("abs"),
    "Neg": Function("affine", -1.0, 0.0),
    "Reciprocal": Function("reciprocal", 1.0),
    "Floor": Function("floor"),
    "Ceil": Function("ceil"),
    "Round": Function("round"),
    "Log": Function("log"),
    "Sin": Function("sin"),
    "Cos": Function("cos"),
    "Softplus": Function("softplus"),
}


def _clip(builder: Builder, node: Node) -> Function:
    low, high = node.attributes.get("min"), node.attributes.get("max")
    if node.opset >= 11:
        found = [builder.optional(node, 1, "min"), builder.optional(node, 2, "max")]
        low, high = (None if c is None else float(c.expanded.reshape(-1)[0]) for c in found)
    low = None if low is None or low <= np.finfo(np.float32).min else float(low)
    high = None if high is None or high >= np.finfo(np.float32).max else float(high)
    return Function("clip", low, high)


def _gelu(_: Builder, node: Node) -> Function:
    kinds: dict[str, plan.Unary] = {"none": "gelu", "tanh": "gelutanh"}
    approximate = node.text("approximate", "none")
    if approximate not in kinds:
        raise node.refused(
            f"only none and tanh, not {approximate!r}, are there", "attribute approximate"
        )
    return Function(kinds[approximate])


def _swish(_: Builder, node: Node) -> Function:
    if node.number("alpha", 1.0) != 1.0:
        raise node.refused("only 1 is there", "attribute alpha")
    return Function("silu")


_FUNCTIONS: dict[str, Callable[[Builder, Node], Function]] = {
    "Clip": _clip,
    "LeakyRelu": lambda _, node: Function("leaky", node.number("alpha", 0.01)),
    "Elu": lambda _, node: Function("elu", node.number("alpha", 1.0)),
    "HardSigmoid": lambda _, node: Function(
        "hardsigmoid", node.number("alpha", 0.2), node.number("beta", 0.5)
    ),
    "Gelu": _gelu,
    "Swish": _swish,
}


def names() -> list[str]:
    """Return the operators that are functions of one element."""
    return [*_PLAIN, *_FUNCTIONS]


def function_of(builder: Builder, node: Node) -> Function | None:
    """Return the function that a node is; None where it is none of one element."""
    if node.op in _FUNCTIONS:
        return _FUNCTIONS[node.op](builder, node)
    return _PLAIN.get(node.op)


def apply(builder: Builder, function: Function, x: View) -> View:
    """Add the step of a function."""
    dense = x if x.is_dense(x.order) and x.size == x.storage.size else None
    if dense is None:
        dense = builder.dense(x, x.order if 0 not in x.strides else None)
    return builder.step(
        plan.UnaryStep,
        in_place=True,
        kind=function.kind,
        x=dense,
        y=builder.new(dense.shape, dense.order),
        size=dense.size,
        a=function.a,
        b=function.b,
    )


def following(builder: Builder, node: Node) -> tuple[Function, Node] | None:
    """Return the function that alone reads a node's output, with its node; None without one."""
    user = builder.only_user(node.outputs[0])
    if user is None or user.inputs[0] != node.outputs[0]:
        return None
    if user.op == "Clip" and any(
        user.has(i) and not isinstance(builder.values.get(user.inputs[i]), Constant) for i in (1, 2)
    ):
        return None
    function = function_of(builder, user)
    return None if function is None else (function, user)
