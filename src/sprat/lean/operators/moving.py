"""Operators that move, cut and join data, most of them without a step."""

from __future__ import annotations

import math

import numpy as np

from sprat.lean.builder import Builder
from sprat.lean.nodes import BROKEN, MISFIT, Node
from sprat.lean.operators.registry import axis_of, lowers
from sprat.lean.values import Shape
from sprat.model.nodes import dtype_name

_FLOATS = {1, 10, 11}


@lowers("Identity", "Dropout")
def identity(builder: Builder, node: Node) -> None:
    """Pass a value on."""
    if any(node.outputs[1:]):
        raise node.refused("the mask is not there", "output mask")
    if node.has(2) and bool(builder.constant(node, 2, "training_mode").values.any()):
        raise node.refused("training is not there", "input training_mode")
    builder.finish(node, builder.value(node, 0))


@lowers("Cast")
def cast(builder: Builder, node: Node) -> None:
    """Pass a value on where it becomes float32; whole numbers are kept as such already."""
    to = node.integer("to", 1)
    if to not in _FLOATS:
        raise node.refused(f"a cast to {dtype_name(to)} is not there", "attribute to")
    x = builder.view(node, 0)
    if x.storage.integers:
        y = builder.copy(x, builder.new(x.shape, x.order))
        y.storage.integers = False
        x = y
    builder.finish(node, x)


@lowers("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(builder: Builder, node: Node) -> None:
    """Lower a change of shape; data moves only where its order must be ONNX's."""
    x = builder.view(node, 0)
    shape = _new_shape(builder, node, x.shape)
    if math.prod(shape) != x.size or min(shape, default=1) < 1:
        raise node.refused(f"shape {list(x.shape)} cannot become {list(shape)}", hint=MISFIT)
    seen = x.reshaped(shape)
    if seen is None:
        seen = builder.dense(x).reshaped(shape)
    assert seen is not None
    builder.finish(node, seen)


def _new_shape(builder: Builder, node: Node, shape: Shape) -> Shape:
    if node.op == "Flatten":
        axis = node.integer("axis", 1)
        axis = axis + len(shape) if axis < 0 else axis
        return math.prod(shape[:axis]), math.prod(shape[axis:])
    if node.op == "Reshape":
        return _reshaped(builder, node, shape)
    axes = node.integers("axes", [])
    if node.has(1):
        axes = [int(a) for a in builder.constant(node, 1, "axes").values.reshape(-1)]
    if node.op == "Squeeze":
        gone = {axis_of(node, a, len(shape), "axes") for a in axes}
        gone = gone or {a for a, size in enumerate(shape) if size == 1}
        if any(shape[a] != 1 for a in gone):
            what = f"axes {sorted(gone)} of shape {list(shape)} are not all 1"
            raise node.refused(what, "axes", MISFIT)
        return tuple(size for a, size in enumerate(shape) if a not in gone)
    rank = len(shape) + len(axes)
    added = {axis_of(node, a, rank, "axes") for a in axes}
    rest = iter(shape)
    return tuple(1 if a in added else next(rest) for a in range(rank))


def _reshaped(builder: Builder, node: Node, shape: Shape) -> Shape:
    if node.has(1):
        wanted = [int(d) for d in builder.constant(node, 1, "shape").values.reshape(-1)]
    else:
        wanted = node.integers("shape", [])
    if not node.integer("allowzero", 0):
        if any(d == 0 and i >= len(shape) for i, d in enumerate(wanted)):
            what = f"a 0 in {wanted} copies an axis that the input, {list(shape)}, does not have"
            raise node.refused(what, "shape", BROKEN)
        wanted = [shape[i] if d == 0 else d for i, d in enumerate(wanted)]
    if -1 in wanted:
        rest = math.prod(d for d in wanted if d != -1)
        wanted[wanted.index(-1)] = math.prod(shape) // rest if rest > 0 else 0
    return tuple(wanted)


@lowers("Transpose")
def transpose(builder: Builder, node: Node) -> None:
    """See the axes in another order."""
    x = builder.view(node, 0)
    rank = len(x.shape)
    axes = node.integers("perm", range(rank)[::-1])
    if sorted(axes) != list(range(rank)):
        raise node.refused(f"{axes} is no order of {rank} axes", "attribute perm", BROKEN)
    builder.finish(node, x.transposed(axes))


@lowers("Expand")
def expand(builder: Builder, node: Node) -> None:
    """See a tensor repeated."""
    x = builder.view(node, 0)
    wanted = [int(d) for d in builder.constant(node, 1, "shape").values.reshape(-1)]
    try:
        shape = tuple(int(d) for d in np.broadcast_shapes(x.shape, tuple(wanted)))
    except ValueError as error:
        what = f"shape {list(x.shape)} cannot be repeated to {wanted}"
        raise node.refused(what, "input shape", MISFIT) from error
    builder.finish(node, x.expanded(shape))


@lowers("Slice")
def slice_(builder: Builder, node: Node) -> None:
    """See a part of a tensor."""
    x = builder.view(node, 0)
    rank = len(x.shape)
    lists: list[list[int]] = []
    for index, name in enumerate(("starts", "ends", "axes", "steps"), 1):
        if node.opset >= 10:
            found = builder.optional(node, index, name)
            lists.append([] if found is None else [int(v) for v in found.values.reshape(-1)])
        else:
            lists.append(node.integers(name, []))
    starts, ends, axes, steps = lists
    axes = axes or list(range(len(starts)))
    steps = steps or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        own = axis_of(node, axis, rank, "axes")
        if step == 0:
            raise node.refused("a step of 0 goes nowhere", "input steps", BROKEN)
        chosen = range(x.shape[own])[_bounded(start, end, step)]
        if not chosen:
            raise node.refused("an empty slice is not there", "inputs starts, ends")
        x = x.sliced(own, chosen[0], len(chosen), step)
    builder.finish(node, x)


def _bounded(start: int, end: int, step: int) -> slice:
    """Return a slice; an end far below 0 takes everything when going backwards, as in ONNX."""
    low = -(1 << 31)
    return slice(start, None if step < 0 and end < low else end, step)


@lowers("Split")
def split(builder: Builder, node: Node) -> None:
    """See the parts of a tensor."""
    x = builder.view(node, 0)
    axis = axis_of(node, node.integer("axis", 0), len(x.shape))
    size, count = x.shape[axis], len(node.outputs)
    sizes = node.integers("split", [])
    if node.has(1):
        sizes = [int(v) for v in builder.constant(node, 1, "split").values.reshape(-1)]
    if not sizes:
        each = -(-size // count)
        sizes = [min(each, size - i * each) for i in range(count)]
    if sum(sizes) != size or min(sizes) < 1 or len(sizes) != count:
        what = f"{sizes} do not cut an axis of {size} into as many parts as outputs, {count}"
        raise node.refused(what, "split", MISFIT)
    start = 0
    for part, name in zip(sizes, node.outputs, strict=True):
        builder.values[name] = x.sliced(axis, start, part)
        start += part


@lowers("Concat")
def concat(builder: Builder, node: Node) -> None:
    """Copy tensors side by side."""
    parts = [builder.view(node, i) for i in range(len(node.inputs))]
    rank = len(parts[0].shape)
    axis = axis_of(node, node.integer("axis", 0), rank)
    rest = {(*p.shape[:axis], *p.shape[axis + 1 :]) for p in parts}
    if len(rest) != 1:
        shapes = ", ".join(str(list(p.shape)) for p in parts)
        what = f"inputs of shapes {shapes} differ elsewhere than along axis {axis}"
        raise node.refused(what, hint=MISFIT)
    shape = list(parts[0].shape)
    shape[axis] = sum(p.shape[axis] for p in parts)
    computed = [p for p in parts if not p.storage.resident] or parts
    order = computed[0].order if 0 not in computed[0].strides else None
    y = builder.new(shape, order)
    start = 0
    for part in parts:
        builder.copy(part, y.sliced(axis, start, part.shape[axis]))
        start += part.shape[axis]
    builder.finish(node, y)


@lowers("DepthToSpace", "SpaceToDepth")
def blocks(builder: Builder, node: Node) -> None:
    """Move blocks between channels and space: axes seen in another order."""
    x = builder.view(node, 0)
    n, c, h, w = x.shape
    b = node.integer("blocksize", 1)
    if node.op == "SpaceToDepth":
        parts, axes = (n, c, h // b, b, w // b, b), (0, 3, 5, 1, 2, 4)
        if node.text("mode", "DCR") != "DCR":
            axes = (0, 1, 3, 5, 2, 4)
        shape = (n, c * b * b, h // b, w // b)
    else:
        shape = (n, c // (b * b), h * b, w * b)
        if node.text("mode", "DCR") == "DCR":
            parts, axes = (n, b, b, c // (b * b), h, w), (0, 3, 4, 1, 5, 2)
        else:
            parts, axes = (n, c // (b * b), b, b, h, w), (0, 1, 4, 2, 5, 3)
    if math.prod(parts) != x.size:
        what = f"an input of shape {list(x.shape)} does not divide into blocks of {b}"
        raise node.refused(what, "attribute blocksize", MISFIT)
    seen = x.reshaped(parts) or builder.dense(x).reshaped(parts)
    assert seen is not None
    moved = seen.transposed(axes).reshaped(shape)
    if moved is None:
        moved = builder.dense(seen.transposed(axes)).reshaped(shape)
    assert moved is not None
    builder.finish(node, moved)
