"""One value in, one value out, broadcast as numpy does."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional

from sprat.refinement.operators.node import Inputs, Node, Operator, first, optional, there


def _of_one(function: Callable[[Tensor], Tensor]) -> Operator:
    return lambda given, _node: function(first(given))


def _of_two(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda given, _node: function(first(given), there(given, 1))


def _of_many(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda given, _node: reduce(function, [value for value in given if value is not None])


def _divide(a: Tensor, b: Tensor) -> Tensor:
    mode = None if a.is_floating_point() else "trunc"
    return torch.div(a, b, rounding_mode=mode)


def _hard_sigmoid(given: Inputs, node: Node) -> Tensor:
    slope, shift = node.flags.get("alpha", 0.2), node.flags.get("beta", 0.5)
    return (slope * first(given) + shift).clamp(0, 1)


def _leaky(given: Inputs, node: Node) -> Tensor:
    return functional.leaky_relu(first(given), node.flags.get("alpha", 0.01))


def _prelu(given: Inputs, _node: Node) -> Tensor:
    x, slope = first(given), there(given, 1)
    return torch.where(x >= 0, x, slope * x)


def _elu(given: Inputs, node: Node) -> Tensor:
    return functional.elu(first(given), node.flags.get("alpha", 1.0))


def _gelu(given: Inputs, node: Node) -> Tensor:
    return functional.gelu(first(given), approximate=node.flags.get("approximate", "none"))


def _clip(given: Inputs, node: Node) -> Tensor:
    low, high = optional(given, 1), optional(given, 2)
    if low is None and high is None:
        if not {"min", "max"} & set(node.flags):
            return first(given)
        return first(given).clamp(node.flags.get("min"), node.flags.get("max"))
    return first(given).clamp(low, high)


def _cast(given: Inputs, node: Node) -> Tensor:
    kinds = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 11: torch.float64}
    if node.flags["to"] not in kinds:
        raise NotImplementedError(f"to={node.flags['to']}")
    return first(given).to(kinds[node.flags["to"]])


def _where(given: Inputs, _node: Node) -> Tensor:
    return torch.where(first(given), there(given, 1), there(given, 2))


def _same(given: Inputs, _node: Node) -> Tensor:
    return first(given)


ELEMENTWISE: dict[str, Operator] = {
    "Relu": _of_one(torch.relu),
    "Sigmoid": _of_one(torch.sigmoid),
    "Tanh": _of_one(torch.tanh),
    "HardSwish": _of_one(functional.hardswish),
    "Softplus": _of_one(functional.softplus),
    "Mish": _of_one(functional.mish),
    "Sqrt": _of_one(torch.sqrt),
    "Exp": _of_one(torch.exp),
    "Log": _of_one(torch.log),
    "Neg": _of_one(torch.neg),
    "Abs": _of_one(torch.abs),
    "Erf": _of_one(torch.erf),
    "Reciprocal": _of_one(torch.reciprocal),
    "Floor": _of_one(torch.floor),
    "Not": _of_one(torch.logical_not),
    "Add": _of_two(torch.add),
    "Sub": _of_two(torch.sub),
    "Mul": _of_two(torch.mul),
    "Div": _of_two(_divide),
    "Pow": _of_two(torch.pow),
    "Equal": _of_two(torch.eq),
    "Greater": _of_two(torch.gt),
    "Less": _of_two(torch.lt),
    "Max": _of_many(torch.maximum),
    "Min": _of_many(torch.minimum),
    "Sum": _of_many(torch.add),
    "HardSigmoid": _hard_sigmoid,
    "LeakyRelu": _leaky,
    "PRelu": _prelu,
    "Elu": _elu,
    "Gelu": _gelu,
    "Clip": _clip,
    "Cast": _cast,
    "Where": _where,
    "Identity": _same,
    "Dropout": _same,
}
