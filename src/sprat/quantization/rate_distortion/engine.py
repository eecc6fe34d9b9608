"""Points on a model's rate-distortion curve, from its measured layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import onnx
from numpy.typing import NDArray

from sprat.parallel import cores, ordered_map
from sprat.progress import Progress, silent
from sprat.quantization.rate_distortion.biases import shorten
from sprat.quantization.rate_distortion.layers import Layer
from sprat.quantization.rate_distortion.rounding import (
    LIMIT,
    Array,
    bit_costs,
    entropy_bits,
    nearest,
    round_best,
    round_rows,
)
from sprat.spread import ALONE, Spread, Task

#: Squared step over price times the mean squared factor: how coarse the levels are for a price of
#: a bit. 8.7 is optimal at high rate (6 dB a bit); at fractions of a bit coarser levels win.
COARSENESS = 24.0


@dataclass(frozen=True)
class Part:
    """One layer, ready to be rounded.

    Attributes:
        layer: The layer.
        weights: float64 ``[groups, outputs, columns]``.
        bias: As stored, float32; None where the layer has none of its own.
        mean: Of the input vectors, float32 ``[groups, columns]``.
        factors: Inverse factors, float32 ``[groups, columns, columns]``.
        damping: The damping that hold-out chose.
        bias_bits: Mantissa bits that the bias keeps.
        per_channel: Steps are proportional to each output channel's rms, one scale each, at any
            price.
        sensitivity: Divergence at the model's output per unit of this layer's output error.
        alone: Divergence that quantizing this layer alone at the nominal error costs.
    """

    layer: Layer
    weights: Array
    bias: NDArray[np.float32] | None
    mean: NDArray[np.float32]
    factors: NDArray[np.float32]
    damping: float
    bias_bits: int
    per_channel: bool = False
    sensitivity: float = 1.0
    alone: float = 0.0


@dataclass(frozen=True)
class LayerBits:
    """What one layer got.

    Attributes:
        name: Of the weight.
        weights: How many numbers.
        bits_per_weight: Order-0 entropy.
        sensitivity: Divergence that quantizing it alone at the nominal error costs.
    """

    name: str
    weights: int
    bits_per_weight: float
    sensitivity: float


@dataclass(frozen=True)
class Point:
    """One point on the curve.

    Attributes:
        rate: The price of a bit that made it, in divergence: larger is smaller and worse.
        integers: Weight name to int8 in the stored shape.
        steps: Weight name to the step, float32 ``[]``, or ``[channels]`` for one each.
        axes: Weight name to the axis of its output channels.
        biases: Bias name to its values, which make good what rounding does to the mean output.
        layers: Bits by layer.
        bits: Order-0 entropy of all the integers.
    """

    rate: float
    integers: Mapping[str, NDArray[np.int8]]
    steps: Mapping[str, NDArray[np.float32]]
    axes: Mapping[str, int]
    biases: Mapping[str, NDArray[np.float32]]
    layers: tuple[LayerBits, ...]
    bits: float


#: Given all layers and the rounded weights by name, returns some layers fitted to them.
Again = Callable[[Sequence[Part], Mapping[str, NDArray[np.float32]], Progress], Sequence[Part]]


@dataclass(frozen=True, eq=False)
class Rounding(Task[tuple[range, float], tuple[NDArray[np.int8], NDArray[np.float32]]]):
    """Rounds layers that are given by their numbers, at a rate.

    Attributes:
        parts: All layers.
        coarseness: Of the levels.
    """

    parts: tuple[Part, ...]
    coarseness: float

    def __call__(
        self, item: tuple[range, float]
    ) -> Iterator[tuple[NDArray[np.int8], NDArray[np.float32]]]:
        """Yield each layer's integers and steps, as :func:`round_part` does."""
        numbers, rate = item

        def one(number: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
            part = self.parts[number]
            return round_part(part, rate / part.sensitivity, self.coarseness)

        return ordered_map(one, numbers)


@dataclass(frozen=True)
class Prepared:
    """A model whose layers are measured: each price of a bit gives a point.

    Attributes:
        model: Float.
        parts: Its layers.
        coarseness: Of the levels.
        again: Fits the last layers to what the others became.
        spread: Who takes part.
    """

    model: onnx.ModelProto
    parts: tuple[Part, ...]
    coarseness: float = COARSENESS
    again: Again | None = None
    spread: Spread = ALONE

    @cached_property
    def rounding(self) -> Rounding:
        """Rounds the layers; the same task for every rate, since its factors are large."""
        return Rounding(self.parts, self.coarseness)

    def quantize(self, rate: float, progress: Progress = silent) -> Point:
        """Round every layer at one price of a bit.

        Args:
            rate: Divergence that a bit is worth (lambda); each layer's price is this over its
                sensitivity.
            progress: Told how many layers are done.

        Returns:
            The point.
        """
        point = self._rounded(self.rounding, rate, progress, self.spread)
        if self.again is None:
            return point
        parts = tuple(self.again(self.parts, expanded(point), progress))
        last = self._rounded(Rounding(parts, self.coarseness), rate, progress, ALONE)
        changed = {bits.name: bits for bits in last.layers}
        layers = tuple(changed.get(bits.name, bits) for bits in point.layers)
        return replace(
            point,
            integers={**point.integers, **last.integers},
            steps={**point.steps, **last.steps},
            biases={**point.biases, **last.biases},
            layers=layers,
            bits=sum(b.bits_per_weight * b.weights for b in layers),
        )

    def _rounded(
        self, rounding: Rounding, rate: float, progress: Progress, spread: Spread
    ) -> Point:
        integers: dict[str, NDArray[np.int8]] = {}
        steps: dict[str, NDArray[np.float32]] = {}
        biases: dict[str, NDArray[np.float32]] = {}
        found: list[LayerBits] = []
        parts = rounding.parts
        items = [(numbers, rate) for numbers in spread.pieces(len(parts), cores())]
        all_rounded = spread.flat(rounding, items)
        for i, (part, (rounded, found_steps)) in enumerate(zip(parts, all_rounded, strict=True)):
            name = part.layer.name
            integers[name] = part.layer.stored(rounded)
            steps[name] = found_steps
            biases |= corrected(part, rounded, found_steps)
            bits = entropy_bits(rounded)
            found.append(LayerBits(name, rounded.size, bits / rounded.size, part.alone))
            progress("rounding", i + 1, len(parts))
        total = sum(b.bits_per_weight * b.weights for b in found)
        axes = {part.layer.name: part.layer.axis for part in parts}
        return Point(rate, integers, steps, axes, biases, tuple(found), total)


def multiplied(rounded: NDArray[np.int8], steps: NDArray[np.float32]) -> Array:
    """Return integers ``[groups, outputs, columns]`` times their step or steps, float64."""
    rows = rounded.reshape(-1, rounded.shape[-1]).astype(np.float64)
    return (rows * steps.reshape(-1, 1).astype(np.float64)).reshape(rounded.shape)


def corrected(
    part: Part, rounded: NDArray[np.int8], steps: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """Return the bias that keeps a layer's mean output what it was, if it has one."""
    if part.bias is None:
        return {}
    gap = part.weights - multiplied(rounded, steps)
    shift = np.einsum("gok,gk->go", gap, part.mean).reshape(part.bias.shape)
    return {part.layer.bias: shorten(part.bias + shift, part.bias_bits)}


def expanded(point: Point) -> dict[str, NDArray[np.float32]]:
    """Return a point's weights in float32, integers times steps, and its biases."""
    weights = {
        name: values.astype(np.float32) * along(point.steps[name], point.axes[name], values.ndim)
        for name, values in point.integers.items()
    }
    return {**weights, **point.biases}


def along(steps: NDArray[np.float32], axis: int, rank: int) -> NDArray[np.float32]:
    """Shape ``[channels]`` steps so that they multiply a tensor along ``axis``."""
    if steps.ndim == 0:
        return steps
    return steps.reshape([-1 if i == axis else 1 for i in range(rank)])


def round_part(
    part: Part, price: float, coarseness: float
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round a layer; return integers ``[groups, outputs, columns]`` and its step or steps."""
    groups, outputs, _ = part.weights.shape
    steps = steps_of(part, price, coarseness)
    rows = np.broadcast_to(steps, groups * outputs).reshape(groups, outputs).astype(np.float64)
    prices = np.full(outputs, price)
    rounded = np.stack([nearest(w, s) for w, s in zip(part.weights, rows, strict=True)])
    for last in (False, True):
        method = round_best if last else round_rows
        bits = bit_costs(rounded)
        rounded = np.stack(
            [method(part.weights[g], part.factors[g], rows[g], prices, bits) for g in range(groups)]
        )
    return rounded, steps


def steps_of(part: Part, price: float, coarseness: float) -> NDArray[np.float32]:
    """Return the distance between levels: float32 ``[]``, or ``[channels]``.

    Where a few large weights keep a layer's one step from being as fine as it should be, since
    integers have 8 bits, each channel gets its own.
    """
    spread = float(np.mean(np.einsum("gii->gi", part.factors).astype(np.float64) ** 2))
    wanted = math.sqrt(coarseness * price * spread)
    rows = part.weights.reshape(-1, part.weights.shape[-1])
    largest_each = np.maximum(np.abs(rows).max(axis=1), 1e-30)
    largest = float(largest_each.max())
    if not part.per_channel and wanted >= largest / LIMIT:
        return shorten(np.asarray(min(wanted, 2 * largest)), rounding="up")
    rms = np.sqrt(np.mean(rows**2, axis=1))
    # The mean square of the steps stays, so that the layer's error stays about the same.
    shares = rms / max(float(np.sqrt(np.mean(rms**2))), 1e-30)
    return shorten(np.clip(wanted * shares, largest_each / LIMIT, 2 * largest_each), rounding="up")
