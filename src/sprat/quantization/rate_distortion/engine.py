"""Points on a model's rate-distortion curve, from its measured layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import onnx
from numpy.typing import NDArray

from sprat.parallel import cores, ordered_map
from sprat.progress import Progress, silent
from sprat.quantization.rate_distortion.checks import Checks
from sprat.quantization.rate_distortion.part import (
    COARSENESS,
    Part,
    Rounded,
    corrected,
    round_part,
)
from sprat.quantization.rate_distortion.rounding import entropy_bits
from sprat.quantization.rate_distortion.steps import SCALE_BITS
from sprat.spread import ALONE, Spread, Task


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
class Rounding(Task[tuple[range, float], Rounded]):
    """Rounds layers that are given by their numbers, at a rate.

    Attributes:
        parts: All layers.
        coarseness: Of the levels.
    """

    parts: tuple[Part, ...]
    coarseness: float

    def __call__(self, item: tuple[range, float]) -> Iterator[Rounded]:
        """Yield each layer's integers and steps, as :func:`round_part` does."""
        numbers, rate = item

        def one(number: int) -> Rounded:
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
        checks: Hold each point against what must be true of it; None checks nothing.
        spread: Who takes part.
    """

    model: onnx.ModelProto
    parts: tuple[Part, ...]
    coarseness: float = COARSENESS
    again: Again | None = None
    checks: Checks | None = None
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
        rounded = self._rounded(self.rounding, rate, progress, self.spread)
        point = self._point(rounded, rate, progress)
        if self.checks is None:
            return point
        look = self.checks.look
        nearest = self.checks.better_nearest(self.parts, total_bits(point), expanded(point))
        if nearest is None:
            return point
        kept = self.checks.enough_kept(self.parts, nearest, rate, self.coarseness)
        ways = (point_of(self.parts, kept, rate), self._point(kept, rate, progress))
        return min(ways, key=lambda way: look.at(expanded(way)))

    def _point(self, rounded: Sequence[Rounded], rate: float, progress: Progress) -> Point:
        """Make a point of rounded layers: none loses too much, and the last are fitted anew."""
        if self.checks is not None:
            rounded = self.checks.enough_kept(self.parts, rounded, rate, self.coarseness)
        point = point_of(self.parts, rounded, rate)
        if self.again is None:
            return point
        parts = tuple(self.again(self.parts, expanded(point), progress))
        fitted = self._rounded(Rounding(parts, self.coarseness), rate, progress, ALONE)
        if self.checks is not None:
            known = {part.layer.name: part for part in self.parts}
            fitted = self.checks.enough_kept(
                parts,
                fitted,
                rate,
                self.coarseness,
                measured=[known[part.layer.name] for part in parts],
                others=expanded(point),
            )
        last = point_of(parts, fitted, rate)
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

    def refuse_constant(self, point: Point) -> None:
        """Refuse a point that is no better than a constant answer.

        Args:
            point: One of this model's.

        Raises:
            ConstantAnswerError: It is not; the layers that lost most are named.
        """
        if self.checks is not None:
            rounded = [
                (part.layer.matrix(point.integers[part.layer.name]), point.steps[part.layer.name])
                for part in self.parts
            ]
            self.checks.refuse_constant(self.parts, rounded, expanded(point))

    def _rounded(
        self, rounding: Rounding, rate: float, progress: Progress, spread: Spread
    ) -> list[Rounded]:
        parts = rounding.parts
        items = [(numbers, rate) for numbers in spread.pieces(len(parts), cores())]
        found: list[Rounded] = []
        for one in spread.flat(rounding, items):
            found.append(one)
            progress("rounding", len(found), len(parts))
        return found


def point_of(parts: Sequence[Part], rounded: Sequence[Rounded], rate: float) -> Point:
    """Put rounded layers together; the biases make good what happens to the means."""
    integers: dict[str, NDArray[np.int8]] = {}
    steps: dict[str, NDArray[np.float32]] = {}
    biases: dict[str, NDArray[np.float32]] = {}
    found: list[LayerBits] = []
    for part, (values, found_steps) in zip(parts, rounded, strict=True):
        name = part.layer.name
        integers[name] = part.layer.stored(values)
        steps[name] = found_steps
        biases |= corrected(part, values, found_steps)
        bits = entropy_bits(values)
        found.append(LayerBits(name, values.size, bits / values.size, part.alone))
    total = sum(b.bits_per_weight * b.weights for b in found)
    axes = {part.layer.name: part.layer.axis for part in parts}
    return Point(rate, integers, steps, axes, biases, tuple(found), total)


def total_bits(point: Point) -> float:
    """Return the entropy of a point's integers, and what their steps cost."""
    return point.bits + SCALE_BITS * sum(steps.size for steps in point.steps.values())


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
