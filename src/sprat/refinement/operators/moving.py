"""Operators that move values and compute no new ones: shapes, slices, pads, resizing."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from sprat.refinement.operators.node import (
    Inputs,
    Node,
    Operator,
    first,
    numbers,
    optional,
    there,
)


def _constant(_given: Inputs, node: Node) -> Tensor:
    if "value" in node.flags:
        value: Tensor = node.flags["value"]
        return value
    plain = {"value_float", "value_floats", "value_int", "value_ints"} & set(node.flags)
    if not plain:
        raise NotImplementedError(", ".join(node.flags))
    (name,) = plain
    kind = torch.float32 if "float" in name else torch.int64
    return torch.tensor(node.flags[name], dtype=kind)


def _reshape(given: Inputs, node: Node) -> Tensor:
    x, wanted = first(given), [int(n) for n in there(given, 1).tolist()]
    if not node.flags.get("allowzero", 0):
        wanted = [x.shape[i] if n == 0 else n for i, n in enumerate(wanted)]
    return x.reshape(wanted)


def _flatten(given: Inputs, node: Node) -> Tensor:
    x, axis = first(given), node.flags.get("axis", 1)
    axis = axis if axis >= 0 else axis + x.ndim
    return x.reshape(math.prod(x.shape[:axis]), -1)


def _transpose(given: Inputs, node: Node) -> Tensor:
    x = first(given)
    return x.permute(node.flags.get("perm", list(reversed(range(x.ndim)))))


def _concat(given: Inputs, node: Node) -> Tensor:
    return torch.cat([value for value in given if value is not None], node.flags["axis"])


def _squeeze(given: Inputs, node: Node) -> Tensor:
    x, axes = first(given), numbers(given, 1, node, "axes")
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def _unsqueeze(given: Inputs, node: Node) -> Tensor:
    x, axes = first(given), numbers(given, 1, node, "axes") or []
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _shape(given: Inputs, node: Node) -> Tensor:
    sizes = list(first(given).shape)[node.flags.get("start", 0) : node.flags.get("end")]
    return torch.tensor(sizes, dtype=torch.int64)


def _gather(given: Inputs, node: Node) -> Tensor:
    x, where = first(given), there(given, 1)
    axis = node.flags.get("axis", 0) % x.ndim
    index = torch.where(where < 0, where + x.shape[axis], where).long()
    picked = x.index_select(axis, index.reshape(-1))
    return picked.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])


def _slice(given: Inputs, _node: Node) -> Tensor:
    x = first(given)
    starts, ends = ([int(v) for v in there(given, i).tolist()] for i in (1, 2))
    named, strides = optional(given, 3), optional(given, 4)
    axes = range(len(starts)) if named is None else [int(v) for v in named.tolist()]
    steps = [1] * len(starts) if strides is None else [int(v) for v in strides.tolist()]
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        taken = range(x.shape[axis])[start:end:step]
        x = x.index_select(axis, torch.tensor(list(taken), dtype=torch.int64))
    return x


def _split(given: Inputs, node: Node) -> tuple[Tensor, ...]:
    x, axis = first(given), node.flags.get("axis", 0)
    sizes = numbers(given, 1, node, "split")
    if sizes is None:
        each = math.ceil(x.shape[axis] / node.flags.get("num_outputs", len(node.outputs)))
        return tuple(x.split(each, axis))
    return tuple(x.split(sizes, axis))


def _expand(given: Inputs, _node: Node) -> Tensor:
    x, wanted = first(given), [int(n) for n in there(given, 1).tolist()]
    return x.expand(torch.broadcast_shapes(x.shape, wanted))


def _pad(given: Inputs, node: Node) -> Tensor:
    x, mode = first(given), node.flags.get("mode", "constant")
    amounts = numbers(given, 1, node, "pads") or []
    axes = numbers(given, 3, node, "axes") or list(range(x.ndim))
    if mode != "constant":
        raise NotImplementedError(f"mode={mode}")
    around = [(0, 0)] * x.ndim
    for i, axis in enumerate(axes):
        around[axis] = (amounts[i], amounts[len(axes) + i])
    value = optional(given, 2)
    flat = [p for pair in reversed(around) for p in pair]
    return functional.pad(x, flat, value=0.0 if value is None else float(value))


def _resize(given: Inputs, node: Node) -> Tensor:
    """Do what ``interpolate`` does: nearest by whole factors, and linear by half pixels."""
    x, flags = first(given), node.flags
    sizes, scales = optional(given, 3), optional(given, 2)
    if sizes is not None and sizes.numel():
        wanted = [int(n) for n in sizes.tolist()]
    elif scales is not None and scales.numel():
        pairs = zip(x.shape, scales.tolist(), strict=True)
        wanted = [math.floor(size * scale) for size, scale in pairs]
    else:
        raise NotImplementedError("neither scales nor sizes")
    mode, way = (
        flags.get("mode", "nearest"),
        flags.get("coordinate_transformation_mode", "half_pixel"),
    )
    if "axes" in flags or flags.get("antialias", 0) or wanted[:2] != list(x.shape[:2]):
        raise NotImplementedError("axes, antialias or other channels")
    whole = all(n % size == 0 for n, size in zip(wanted, x.shape, strict=True))
    if mode == "nearest" and whole and way in ("half_pixel", "asymmetric", "pytorch_half_pixel"):
        if way == "asymmetric" and flags.get("nearest_mode", "round_prefer_floor") != "floor":
            raise NotImplementedError("asymmetric coordinates that are not rounded down")
        return functional.interpolate(x, wanted[2:], mode="nearest")
    if mode == "linear" and x.ndim == 4 and way in ("half_pixel", "align_corners"):
        corners = way == "align_corners"
        return functional.interpolate(x, wanted[2:], mode="bilinear", align_corners=corners)
    raise NotImplementedError(f"mode={mode}, {way}")


MOVING: dict[str, Operator] = {
    "Constant": _constant,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Concat": _concat,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Shape": _shape,
    "Gather": _gather,
    "Slice": _slice,
    "Split": _split,
    "Expand": _expand,
    "Pad": _pad,
    "Resize": _resize,
}
