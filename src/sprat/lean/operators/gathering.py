"""Indices of an axis, known or computed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from sprat.lean import plan
from sprat.lean.builder import Builder
from sprat.lean.nodes import MISFIT, Node
from sprat.lean.operators.registry import axis_of, lowers
from sprat.lean.values import Array, Constant, View


@lowers("Gather")
def gather(builder: Builder, node: Node) -> None:
    """Take indices along an axis."""
    table, indices = builder.value(node, 0), builder.value(node, 1)
    axis = axis_of(node, node.integer("axis", 0), len(table.shape))
    if isinstance(indices, Constant):
        return builder.finish(node, _fixed(builder, node, indices, axis))
    if axis != 0:
        raise node.refused("computed indices along another axis than 0", "attribute axis")
    x = builder.dense(builder.view(node, 0))
    ids = builder.dense(indices)
    columns = math.prod(x.shape[1:])
    y = builder.step(
        plan.Embed,
        x=x,
        b=ids,
        y=builder.new((*ids.shape, *x.shape[1:])),
        shape=(x.shape[0], columns, ids.size),
    )
    return builder.finish(node, y)


def _fixed(builder: Builder, node: Node, indices: Constant, axis: int) -> View:
    """Return known indices of an axis; one that is a number takes the axis away."""
    x = builder.view(node, 0)
    size = x.shape[axis]
    wanted = indices.values.astype(np.int64)
    if wanted.size == 0:
        raise node.refused("an empty list of indices is not there", "input indices")
    outside = wanted[(wanted < -size) | (wanted >= size)]
    if outside.size:
        what = f"{outside[0]} is no index of axis {axis}, which has {size}"
        raise node.refused(what, "input indices", MISFIT)
    wanted = np.where(wanted < 0, wanted + size, wanted)
    if wanted.size == 1:
        one = x.sliced(axis, int(wanted.reshape(-1)[0]), 1)
    else:
        one = gathered(builder, x, axis, wanted.reshape(-1))
    shape = (*x.shape[:axis], *wanted.shape, *x.shape[axis + 1 :])
    if wanted.ndim == 1:
        return one
    if wanted.ndim == 0:
        keep = [a for a in range(len(x.shape)) if a != axis]
        return replace(
            one,
            shape=tuple(one.shape[a] for a in keep),
            strides=tuple(one.strides[a] for a in keep),
        )
    seen = one.reshaped(shape) or builder.dense(one).reshaped(shape)
    assert seen is not None
    return seen


def gathered(
    builder: Builder,
    x: View,
    axis: int,
    low: Array,
    high: Array | None = None,
    weight: Array | None = None,
) -> View:
    """Add the step that takes indices of an axis, or goes between two of them.

    Args:
        builder: The program.
        x: What is taken from.
        axis: Along which axis.
        low: Indices, one for each place of the result.
        high: The other indices.
        weight: The share of the other, from 0 to 1; float32.
    """
    order = x.order if 0 not in x.strides else tuple(range(len(x.shape)))
    x = builder.dense(x, order)
    at = order.index(axis)
    sizes = [x.shape[a] for a in order]
    shape = list(x.shape)
    shape[axis] = len(low)
    share = np.zeros(len(low), np.float32) if weight is None else weight
    first = builder.table(low)
    y = builder.new(shape, order)
    y.storage.integers = x.storage.integers
    return builder.step(
        plan.Gather,
        x=x,
        y=y,
        shape=(math.prod(sizes[:at]), sizes[at], math.prod(sizes[at + 1 :])),
        count=len(low),
        low=first,
        high=first if high is None else builder.table(high),
        weight=builder.packed(Constant(np.ascontiguousarray(share, dtype=np.float32))),
    )
