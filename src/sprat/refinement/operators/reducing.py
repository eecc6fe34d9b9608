"""Operators along some axes: reductions and softmax."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from sprat.refinement.operators.node import Inputs, Node, Operator, first, numbers


def _reduced(function: Callable[..., Tensor]) -> Operator:
    def apply(given: Inputs, node: Node) -> Tensor:
        x = first(given)
        axes = numbers(given, 1, node, "axes")
        if not axes:
            if node.flags.get("noop_with_empty_axes", 0):
                return x
            axes = list(range(x.ndim))
        return function(x, dim=axes, keepdim=bool(node.flags.get("keepdims", 1)))

    return apply


def _softmax(function: Callable[..., Tensor]) -> Operator:
    def apply(given: Inputs, node: Node) -> Tensor:
        x = first(given)
        if node.opset >= 13:
            return function(x, node.flags.get("axis", -1))
        # Before opset 13 all axes from ``axis`` on are one.
        axis = node.flags.get("axis", 1) % x.ndim
        return function(x.flatten(axis), axis).reshape(x.shape)

    return apply


REDUCING: dict[str, Operator] = {
    "ReduceMean": _reduced(torch.mean),
    "ReduceSum": _reduced(torch.sum),
    "ReduceMax": _reduced(torch.amax),
    "ReduceMin": _reduced(torch.amin),
    "ReduceL2": _reduced(partial(torch.linalg.vector_norm, ord=2)),
    "Softmax": _softmax(torch.softmax),
    "LogSoftmax": _softmax(torch.log_softmax),
}
