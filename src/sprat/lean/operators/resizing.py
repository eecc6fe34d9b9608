"""Resizing along one axis after the other."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from sprat.lean.builder import Builder
from sprat.lean.nodes import BROKEN, MISFIT, Node
from sprat.lean.operators.gathering import gathered
from sprat.lean.operators.registry import axis_of, lowers
from sprat.lean.values import Array, View


@lowers("Resize", "Upsample")
def resize(builder: Builder, node: Node) -> None:
    """Lower a nearest or linear resize."""
    x = builder.view(node, 0)
    mode = node.text("mode", "nearest")
    if mode not in ("nearest", "linear", "bilinear"):
        raise node.refused(f"only nearest and linear, not {mode!r}, are there", "attribute mode")
    if node.integer("antialias", 0):
        raise node.refused("it is not there", "attribute antialias")
    sizes, scales = _targets(builder, node, x)
    for axis, (size, scale) in enumerate(zip(sizes, scales, strict=True)):
        if size < 1:
            what = f"axis {axis} of {x.shape[axis]} would become {size}"
            raise node.refused(what, "inputs scales, sizes", MISFIT)
        if size == x.shape[axis] and scale == 1.0:
            continue
        places = _places(node, x.shape[axis], size, scale)
        x = _along(builder, node, x, axis, places, linear=mode != "nearest")
    builder.finish(node, x)


def _targets(builder: Builder, node: Node, x: View) -> tuple[list[int], list[float]]:
    """Return the new size of each axis, and its scale."""
    rank = len(x.shape)
    if node.op == "Upsample" or node.opset < 11:
        given = builder.optional(node, 1, "scales")
        values = node.attributes.get("scales") if given is None else given.expanded.reshape(-1)
        scales = [float(v) for v in values] if values is not None else []
        _check_count(node, "scales", len(scales), rank)
        sizes = [math.floor(s * f) for s, f in zip(x.shape, scales, strict=True)]
    else:
        scales, sizes = _given(builder, node, x)
    return sizes, scales


def _check_count(node: Node, name: str, got: int, wanted: int) -> None:
    if got != wanted:
        raise node.refused(f"{got} {name} do not fit {wanted} axes", f"input {name}", BROKEN)


def _given(builder: Builder, node: Node, x: View) -> tuple[list[float], list[int]]:
    rank = len(x.shape)
    axes = [axis_of(node, a, rank, "axes") for a in node.integers("axes", range(rank))]
    scales, sizes = [1.0] * rank, list(x.shape)
    wanted = builder.optional(node, 3, "sizes")
    if wanted is not None and wanted.values.size:
        if node.text("keep_aspect_ratio_policy", "stretch") != "stretch":
            raise node.refused("only stretch is there", "attribute keep_aspect_ratio_policy")
        _check_count(node, "sizes", wanted.values.size, len(axes))
        for axis, size in zip(axes, wanted.values.reshape(-1), strict=True):
            sizes[axis], scales[axis] = int(size), int(size) / x.shape[axis]
        return scales, sizes
    factors = builder.constant(node, 2, "scales").expanded.reshape(-1)
    _check_count(node, "scales", len(factors), len(axes))
    for axis, factor in zip(axes, factors, strict=True):
        scales[axis] = float(factor)
        sizes[axis] = math.floor(x.shape[axis] * float(factor))
    return scales, sizes


def _places(node: Node, size: int, out: int, scale: float) -> Array:
    """Return where each new element lies among the old ones.

    In float32, as ONNX Runtime computes it: half way between two, the last bit decides.
    """
    one, half = np.float32(1), np.float32(0.5)
    i = np.arange(out, dtype=np.float32)
    factor, length = np.float32(scale), np.float32(scale * size)
    default = "asymmetric" if node.opset < 11 else "half_pixel"
    mode = node.text("coordinate_transformation_mode", default)
    if mode == "half_pixel":
        return (i + half) / factor - half
    if mode == "pytorch_half_pixel":
        return (i + half) / factor - half if length > 1 else np.zeros(out, np.float32)
    if mode == "half_pixel_symmetric":
        adjustment = np.float32(out) / length
        return np.float32(size) / 2 * (one - adjustment) + (i + half) / factor - half
    if mode == "asymmetric":
        return i / factor
    if mode == "align_corners":
        span = length - one
        return i * np.float32(size - 1) / span if length > 1 else np.zeros(out, np.float32)
    raise node.refused(f"{mode!r} is not there", "attribute coordinate_transformation_mode")


def _along(
    builder: Builder, node: Node, x: View, axis: int, places: Array, *, linear: bool
) -> View:
    last = x.shape[axis] - 1
    if linear:
        low = np.floor(places)
        weight = (places - low).astype(np.float32)
        high = np.clip(low + 1, 0, last)
        return gathered(builder, x, axis, np.clip(low, 0, last), high, weight)
    rounding = node.text("nearest_mode", "floor" if node.opset < 11 else "round_prefer_floor")
    functions: dict[str, Callable[[Array], Array]] = {
        "round_prefer_floor": lambda p: np.ceil(p - 0.5),
        "round_prefer_ceil": lambda p: np.floor(p + 0.5),
        "floor": np.floor,
        "ceil": np.ceil,
    }
    if rounding not in functions:
        what = f"only {', '.join(functions)}, not {rounding!r}, are there"
        raise node.refused(what, "attribute nearest_mode")
    return gathered(builder, x, axis, np.clip(functions[rounding](places), 0, last))
