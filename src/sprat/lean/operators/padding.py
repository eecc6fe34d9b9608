"""Padding: taken into a convolution where that alone reads it, else a larger tensor."""

from __future__ import annotations

from typing import Literal

import numpy as np

from sprat.lean import plan
from sprat.lean.builder import Builder
from sprat.lean.nodes import BROKEN, MISFIT, Node
from sprat.lean.operators.convolution import NHWC
from sprat.lean.operators.gathering import gathered
from sprat.lean.operators.registry import axis_of, lowers
from sprat.lean.values import View

_MODES: tuple[Literal["edge", "reflect", "wrap"], ...] = ("edge", "reflect", "wrap")


@lowers("Pad")
def pad(builder: Builder, node: Node) -> None:
    """Copy a tensor into the middle of a larger one, or repeat and mirror its edges."""
    x = builder.view(node, 0)
    rank = len(x.shape)
    if node.opset >= 11:
        pads = [int(v) for v in builder.constant(node, 1, "pads").values.reshape(-1)]
        given = builder.optional(node, 2, "constant_value")
        value = 0.0 if given is None else float(given.expanded.reshape(-1)[0])
    else:
        pads, value = node.integers("pads", []), node.number("value", 0.0)
    if node.has(3):
        own = [int(a) for a in builder.constant(node, 3, "axes").values.reshape(-1)]
        own = [axis_of(node, a, rank, "axes") for a in own]
        some, pads = pads, [0] * (2 * rank)
        for i, axis in enumerate(own):
            pads[axis], pads[axis + rank] = some[i], some[i + len(own)]
    if len(pads) != 2 * rank:
        what = f"{len(pads)} pads do not fit {rank} axes, which take {2 * rank}"
        raise node.refused(what, "pads", BROKEN)
    if min(pads, default=0) < 0:
        raise node.refused(f"cutting, as the pads {pads} do, is not there", "pads")
    mode = node.text("mode", "constant")
    before, after = pads[:rank], pads[rank:]
    if mode == "constant":
        user = builder.only_user(node.outputs[0])
        spatial = rank == 4 and not any((*before[:2], *after[:2])) and value == 0
        if spatial and user is not None and _can_pad(user, node.outputs[0]):
            builder.pads[node.outputs[0]] = (before[2], before[3], after[2], after[3])
            return builder.finish(node, x)
        return builder.finish(node, padded(builder, x, before, after, value))
    way = next((known for known in _MODES if known == mode), None)
    if way is None:
        what = f"only constant, {', '.join(_MODES)}, not {mode!r}, are there"
        raise node.refused(what, "attribute mode")
    for axis in range(rank):
        if before[axis] or after[axis]:
            size = x.shape[axis]
            if mode == "reflect" and max(before[axis], after[axis]) >= size:
                what = f"{pads} mirror more than the {size} of axis {axis}"
                raise node.refused(what, "pads", MISFIT)
            indices = np.pad(np.arange(size), (before[axis], after[axis]), mode=way)
            x = gathered(builder, x, axis, indices)
    return builder.finish(node, x)


def _can_pad(user: Node, name: str) -> bool:
    """Say whether a node pads a value by itself."""
    own = user.op == "Conv" and user.inputs[0] == name and name not in user.inputs[1:]
    return own and user.text("auto_pad", "NOTSET") in ("NOTSET", "VALID")


def padded(builder: Builder, x: View, before: list[int], after: list[int], value: float) -> View:
    """Return a tensor with a value around it."""
    shape = tuple(s + a + b for s, a, b in zip(x.shape, before, after, strict=True))
    y = builder.new(shape, NHWC if len(shape) == 4 else x.order)
    builder.step(plan.Fill, y=y, size=y.size, value=None if value == -np.inf else value)
    middle = y
    for axis, (start, size) in enumerate(zip(before, x.shape, strict=True)):
        middle = middle.sliced(axis, start, size)
    builder.copy(x, middle)
    return y
