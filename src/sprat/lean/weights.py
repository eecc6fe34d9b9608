"""The weights' file: each stored array once, and where each constant finds its numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sprat.lean.plan import ConstantEntry, Scales, Stored
from sprat.lean.values import Array, Constant, merge_axes

_KINDS: dict[str, Stored] = {
    "float32": "float32",
    "float16": "float16",
    "int32": "int32",
    "int8": "int8",
    "uint8": "uint8",
}
_AXES = 4


@dataclass
class Weights:
    """The file as it grows.

    Attributes:
        content: Its bytes.
    """

    content: bytearray = field(default_factory=bytearray)
    _places: dict[tuple[int, int], int] = field(default_factory=dict)
    _kept: list[Array] = field(default_factory=list)

    def add(self, constant: Constant, *, integers: bool = False) -> dict[str, Any]:
        """Write what a constant is stored as, unless it is there already.

        Args:
            constant: Seen as the kernel wants it: its last axis becomes the innermost.
            integers: A table of indices, kept as int32.

        Returns:
            The fields of its :class:`~sprat.lean.plan.ConstantEntry`, without ``to``.
        """
        constant = _rooted(_storable(constant, integers))
        arrays = [constant.values]
        if constant.scale is not None:
            arrays.append(constant.scale)
        if constant.zero is not None:
            arrays.append(constant.zero)
        strides = [_element_strides(array) for array in arrays]
        shape, merged = merge_axes(constant.shape, strides)
        if len(shape) > _AXES:
            return self.add(_dense(constant), integers=integers)
        at, start = self._place(constant.values, constant.bits)
        scales = None
        if constant.scale is not None:
            if constant.zero is not None and merged[1] != merged[2]:
                return self.add(_dense(constant), integers=integers)
            zero = None if constant.zero is None else self._place_floats(constant.zero)
            scales = Scales(
                at=self._place_floats(constant.scale), zero=zero, strides=_four(merged[1])
            )
        entry = ConstantEntry(
            at=at,
            kind=_kind(constant),
            shape=_ones(shape),
            start=start,
            strides=_four(merged[0]),
            scales=scales,
            integers=integers,
        )
        return entry.model_dump()

    def _place_floats(self, seen: Array) -> int:
        """Write the few numbers of which a broadcast view is made; their place in bytes."""
        at, start = self._place(seen, 32)
        return at + 4 * start

    def _place(self, seen: Array, bits: int) -> tuple[int, int]:
        """Write the array that a view shows, whole; where it is, and elements to the view's first.

        The file keeps the model's own order of elements, which compresses as the model does.
        """
        base = _root(seen)
        start = (seen.__array_interface__["data"][0] - base.__array_interface__["data"][0]) // (
            base.itemsize or 1
        )
        key = (id(base), bits)
        if key not in self._places:
            self.content += bytes(-len(self.content) % 4)
            self._places[key] = len(self.content)
            self._kept.append(base)  # so that its id is not given to another
            self.content += _packed(base) if bits == 4 else base.tobytes()
        return self._places[key], start


def _storable(constant: Constant, integers: bool) -> Constant:
    """Return the constant in a type that the file has."""
    if integers:
        return Constant(np.asarray(constant.values, dtype=np.int32, order="C"))
    if str(constant.values.dtype) in _KINDS:
        return constant
    return Constant(np.asarray(constant.expanded, dtype=np.float32, order="C"))


def _dense(constant: Constant) -> Constant:
    return Constant(np.ascontiguousarray(constant.expanded, dtype=np.float32).reshape(-1))


def _kind(constant: Constant) -> Stored:
    if constant.bits == 4:
        return "int4" if constant.values.dtype == np.int8 else "uint4"
    return _KINDS[str(constant.values.dtype)]


def _element_strides(array: Array) -> tuple[int, ...]:
    return tuple(s // array.itemsize for s in array.strides)


def _rooted(constant: Constant) -> Constant:
    """Return a constant whose arrays are views of contiguous ones, that go forward in them."""

    def own(array: Array) -> Array:
        good = _root(array).flags.c_contiguous and min(array.strides, default=0) >= 0
        return array if good and _root(array).dtype == array.dtype else np.array(array, order="C")

    scale = None if constant.scale is None else own(constant.scale)
    zero = None if constant.zero is None else own(constant.zero)
    return Constant(own(constant.values), scale, zero, constant.bits)


def _root(array: Array) -> Array:
    """Return the array that a view shows a part of."""
    root = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    return root


def _packed(values: Array) -> bytes:
    """Return 4-bit integers two in a byte, the lower bits first, as ONNX packs them."""
    flat = values.reshape(-1).view(np.uint8) & 15
    if flat.size % 2:
        flat = np.append(flat, np.uint8(0))
    return (flat[0::2] | flat[1::2] << 4).astype(np.uint8).tobytes()


def _ones(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    a, b, c, d = (*[1] * (_AXES - len(shape)), *shape)
    return a, b, c, d


def _four(strides: tuple[int, ...]) -> tuple[int, int, int, int]:
    a, b, c, d = (*[0] * (_AXES - len(strides)), *strides)
    return a, b, c, d
