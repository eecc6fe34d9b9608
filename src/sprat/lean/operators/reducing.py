"""Reductions over axes, global pools among them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from sprat.lean import plan
from sprat.lean.builder import Builder
from sprat.lean.nodes import Node
from sprat.lean.operators import activation
from sprat.lean.operators.activation import Function
from sprat.lean.operators.registry import axis_of, lowers
from sprat.lean.values import View, dense_strides

_KINDS: dict[str, plan.Reduction] = {
    "ReduceMean": "mean",
    "ReduceSum": "sum",
    "ReduceMax": "max",
    "ReduceMin": "min",
    "ReduceProd": "prod",
    "ReduceSumSquare": "squares",
    "ReduceL2": "squares",
}


@lowers("GlobalAveragePool", "GlobalMaxPool")
def global_pool(builder: Builder, node: Node) -> None:
    """Lower a reduction over all axes but batch and channels."""
    x = builder.view(node, 0)
    kind: plan.Reduction = "mean" if node.op == "GlobalAveragePool" else "max"
    builder.finish(node, reduced(builder, x, range(2, len(x.shape)), kind, keep=True))


@lowers(*_KINDS)
def reduce(builder: Builder, node: Node) -> None:
    """Lower a reduction over some axes."""
    x = builder.view(node, 0)
    rank = len(x.shape)
    axes = node.integers("axes", [])
    if node.has(1):
        axes = [int(a) for a in builder.constant(node, 1, "axes").values.reshape(-1)]
    if not axes:
        if node.integer("noop_with_empty_axes", 0):
            return builder.finish(node, x)
        axes = list(range(rank))
    axes = [axis_of(node, a, rank, "axes") for a in axes]
    y = reduced(builder, x, axes, _KINDS[node.op], keep=bool(node.integer("keepdims", 1)))
    if node.op == "ReduceL2":
        y = activation.apply(builder, Function("sqrt"), y)
    return builder.finish(node, y)


def reduced(
    builder: Builder, x: View, axes: Sequence[int], kind: plan.Reduction, *, keep: bool
) -> View:
    """Add the step of a reduction.

    Args:
        builder: The program.
        x: What is reduced.
        axes: Over which axes, counted from the front.
        kind: How.
        keep: The axes stay, with size 1.
    """
    gone = set(axes)
    order = _grouped(x, gone)
    x = builder.dense(x, order)
    places = [i for i, axis in enumerate(order) if axis in gone] or [len(order)]
    sizes = [x.shape[a] for a in order]
    outer, inner = math.prod(sizes[: places[0]]), math.prod(sizes[places[-1] + 1 :])
    n = math.prod(x.shape[a] for a in gone)
    shape = tuple(1 if a in gone else size for a, size in enumerate(x.shape))
    y = builder.new(shape, order)
    builder.step(plan.Reduce, kind=kind, x=x, y=y, shape=(outer, n, inner))
    if keep:
        return y
    left = [a for a in range(len(shape)) if a not in gone]
    return replace(
        y, shape=tuple(shape[a] for a in left), strides=tuple(y.strides[a] for a in left)
    )


def _grouped(x: View, gone: set[int]) -> tuple[int, ...]:
    """Return an order of axes that has those of a reduction side by side, if possible x's own."""
    own = [a for a in x.order if x.shape[a] > 1]
    rest = [a for a in range(len(x.shape)) if x.shape[a] == 1]
    places = [i for i, axis in enumerate(own) if axis in gone]
    near = not places or places[-1] - places[0] == len(places) - 1
    strides = dense_strides(x.shape, (*rest, *own))
    dense = all(s == t for s, t, size in zip(x.strides, strides, x.shape, strict=True) if size > 1)
    if not (near and dense):
        own = [a for a in own if a not in gone] + [a for a in own if a in gone]
        places = [i for i, axis in enumerate(own) if axis in gone]
    first = places[0] if places else len(own)
    single = [a for a in rest if a in gone]
    return (*[a for a in rest if a not in gone], *own[:first], *single, *own[first:])
