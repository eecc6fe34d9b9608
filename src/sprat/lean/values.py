"""What flows through a graph while it is compiled: places in memory, and constants.

Both are seen through strides, as numpy sees arrays: transposing, slicing, squeezing and expanding
move no data, and a step copies only where a kernel needs another order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]


@dataclass(eq=False)
class Storage:
    """So many floats somewhere in the memory; where is decided when all steps are known.

    Attributes:
        size: Floats.
        resident: A constant lies here, which no step may overwrite.
        integers: The model means whole numbers or truth values, with their own arithmetic.
        at: The place, in floats; -1 while it is not decided.
    """

    size: int
    resident: bool = False
    integers: bool = False
    at: int = -1


@dataclass(frozen=True)
class View:
    """A tensor of float32: a part of a storage, seen through strides.

    Attributes:
        storage: Where it lies.
        shape: Its logical shape, in ONNX's order of axes.
        strides: Floats from one index to the next, for each axis; 0 repeats.
        offset: Floats from the storage's start.
    """

    storage: Storage
    shape: Shape
    strides: Shape
    offset: int = 0

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def order(self) -> Shape:
        """The axes from the outermost in memory to the innermost."""
        return tuple(sorted(range(len(self.shape)), key=lambda a: (-abs(self.strides[a]), a)))

    def is_dense(self, order: Sequence[int]) -> bool:
        """Say whether the elements lie side by side in an order of axes."""
        wanted = dense_strides(self.shape, order)
        return all(
            have == want
            for have, want, size in zip(self.strides, wanted, self.shape, strict=True)
            if size > 1
        )

    def transposed(self, axes: Sequence[int]) -> View:
        """Return the same elements with the axes in another order."""
        shape = tuple(self.shape[a] for a in axes)
        return replace(self, shape=shape, strides=tuple(self.strides[a] for a in axes))

    def expanded(self, shape: Shape) -> View:
        """Return the view repeated to a shape that it broadcasts to."""
        missing = len(shape) - len(self.shape)
        strides = [0] * missing + [
            0 if have == 1 else stride
            for have, stride in zip(self.shape, self.strides, strict=True)
        ]
        return replace(self, shape=shape, strides=tuple(strides))

    def sliced(self, axis: int, start: int, count: int, step: int = 1) -> View:
        """Return ``count`` indices of an axis, from ``start`` on in steps."""
        shape, strides = list(self.shape), list(self.strides)
        offset = self.offset + start * strides[axis]
        shape[axis], strides[axis] = count, strides[axis] * step
        return replace(self, shape=tuple(shape), strides=tuple(strides), offset=offset)

    def reshaped(self, shape: Shape) -> View | None:
        """Return the view in another shape; None where the elements would have to move."""
        return _reshaped(self, shape)


@dataclass(frozen=True)
class Constant:
    """A tensor that is known: floats, integers, or stored integers with scales.

    Attributes:
        values: The numbers as they are stored, of the tensor's shape.
        scale: Of the same shape (broadcast), or None: the tensor is ``(values - zero)·scale``.
        zero: Zero points, likewise.
        bits: Bits of a stored integer: 4 where the model packs two in a byte.
        cache: Expanded values, made once.
    """

    values: Array
    scale: Array | None = None
    zero: Array | None = None
    bits: int = 8
    cache: dict[str, Array] = field(default_factory=dict, compare=False, repr=False)

    @property
    def shape(self) -> Shape:
        """The tensor's shape."""
        return tuple(int(d) for d in self.values.shape)

    @property
    def expanded(self) -> Array:
        """The tensor's values: of its own type, or float32 where it is scaled."""
        if self.scale is None:
            return self.values
        if "expanded" not in self.cache:
            shifted = self.values.astype(np.float32)
            if self.zero is not None:
                shifted = shifted - self.zero
            self.cache["expanded"] = np.asarray(shifted * self.scale, dtype=np.float32)
        return self.cache["expanded"]

    def seen(self, change: Callable[[Array], Array]) -> Constant:
        """Return the constant with its numbers and their scales seen in another way."""
        scale = None if self.scale is None else change(self.scale)
        zero = None if self.zero is None else change(self.zero)
        return Constant(change(self.values), scale, zero, self.bits)

    def scaled(self, factor: Array) -> Constant:
        """Return the constant times a factor that broadcasts; stored integers stay as they are."""
        if self.scale is None:
            values = self.values.astype(np.float32)
            return Constant(np.asarray(values * factor, dtype=np.float32))
        small = _unbroadcast(self.scale)
        scale = np.asarray(small * factor, dtype=np.float32)
        return replace(self, scale=np.broadcast_to(scale, self.shape), cache={})


Value = View | Constant


def dense_strides(shape: Sequence[int], order: Sequence[int]) -> Shape:
    """Return the strides of elements that lie side by side, the last axis of an order innermost."""
    strides = [0] * len(shape)
    step = 1
    for axis in reversed(order):
        strides[axis] = step
        step *= shape[axis]
    return tuple(strides)


def merge_axes(shape: Sequence[int], strides: Sequence[Sequence[int]]) -> tuple[Shape, list[Shape]]:
    """Walk several tensors over as few axes as possible.

    Args:
        shape: The common shape, outermost axis first.
        strides: Of each tensor, as many as there are axes.

    Returns:
        The merged shape, and each tensor's strides over it.
    """
    sizes: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for axis, size in enumerate(shape):
        if size == 1:
            continue
        inner = [s[axis] for s in strides]
        if sizes and all(o[-1] == i * size for o, i in zip(steps, inner, strict=True)):
            sizes[-1] *= size
            for own, step in zip(steps, inner, strict=True):
                own[-1] = step
        else:
            sizes.append(size)
            for own, step in zip(steps, inner, strict=True):
                own.append(step)
    return tuple(sizes), [tuple(own) for own in steps]


def _reshaped(view: View, shape: Shape) -> View | None:
    """Find strides for the new shape, run of axes by run of axes."""
    sizes, (steps,) = merge_axes(view.shape, [view.strides])
    runs = list(zip(sizes, steps, strict=True)) or [(1, 1)]
    strides: list[int] = []
    axes = list(shape)
    at = 0
    for size, step in runs:
        left, group = size, []
        while at < len(axes) and (left > 1 or axes[at] == 1):
            if left % axes[at]:
                return None
            left //= axes[at]
            group.append(axes[at])
            at += 1
        if left > 1:
            return None
        strides += [step * s for s in dense_strides(group, range(len(group)))]
    strides += [1] * (len(axes) - at)
    return replace(view, shape=shape, strides=tuple(strides))


def _unbroadcast(array: Array) -> Array:
    """Return an array with 1 for each axis along which it only repeats."""
    return array[tuple(slice(0, 1) if s == 0 else slice(None) for s in array.strides)]
