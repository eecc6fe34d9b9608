"""From a model and calibration samples to points on its rate-distortion curve."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from sprat.errors import NoGainError, OptionError
from sprat.model.session import Feeds, Outputs, open_session, predict
from sprat.parallel import ordered_map
from sprat.progress import Progress, silent
from sprat.quantize.rate_distortion.layers import Layer, find_layers, weight_of
from sprat.quantize.rate_distortion.moments import second_moments
from sprat.quantize.rate_distortion.rounding import (
    Array,
    bit_costs,
    entropy_bits,
    inverse_factor,
    nearest,
    output_error,
    round_rows,
)

#: Mean divergence of some outputs from the reference's, in nats or relative squared error.
Divergence = Callable[[Sequence[Outputs], Sequence[Outputs]], float]

#: Dampings tried for each layer; the one whose rounding errs least on held-out samples is taken.
DAMPINGS = (0.005, 0.02, 0.1)
#: Nominal error at which a layer's sensitivity is measured, as a share of its output's energy.
_NOMINAL = 0.02
#: Squared step over price times the mean squared factor: how coarse the levels are for a price of
#: a bit. 8.7 is optimal at high rate (6 dB a bit); at fractions of a bit coarser levels win.
COARSENESS = 24.0
#: The histogram that prices the bits is taken from the round before, this many times.
_ROUNDS = 2


@dataclass(frozen=True)
class Part:
    """One layer, ready to be rounded.

    Attributes:
        layer: The layer.
        weights: float64 ``[groups, outputs, columns]``.
        factors: Inverse factors ``[groups]`` of ``[columns, columns]``.
        damping: The damping that hold-out chose.
        sensitivity: Divergence at the model's output per unit of this layer's output error.
        alone: Divergence that quantizing this layer alone at the nominal error costs.
    """

    layer: Layer
    weights: Array
    factors: tuple[Array, ...]
    damping: float
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
        steps: Weight name to the layer's step, float32.
        layers: Bits by layer.
        bits: Order-0 entropy of all the integers.
    """

    rate: float
    integers: Mapping[str, NDArray[np.int8]]
    steps: Mapping[str, np.float32]
    layers: tuple[LayerBits, ...]
    bits: float


@dataclass(frozen=True)
class Prepared:
    """A model whose layers are measured: each price of a bit gives a point."""

    model: onnx.ModelProto
    parts: tuple[Part, ...]
    coarseness: float = COARSENESS

    def quantize(self, rate: float, progress: Progress = silent) -> Point:
        """Round every layer at one price of a bit.

        Args:
            rate: Divergence that a bit is worth (lambda); each layer's price is this over its
                sensitivity.
            progress: Told how many layers are done.

        Returns:
            The point.
        """
        integers: dict[str, NDArray[np.int8]] = {}
        steps: dict[str, np.float32] = {}
        found: list[LayerBits] = []

        def one(part: Part) -> tuple[NDArray[np.int8], np.float32]:
            return _round_part(part, rate / part.sensitivity, self.coarseness)

        for i, (part, (rounded, step)) in enumerate(
            zip(self.parts, ordered_map(one, self.parts), strict=True)
        ):
            name = part.layer.name
            integers[name] = part.layer.stored(rounded)
            steps[name] = step
            bits = entropy_bits(rounded)
            found.append(LayerBits(name, rounded.size, bits / rounded.size, part.alone))
            progress("rounding", i + 1, len(self.parts))
        total = sum(b.bits_per_weight * b.weights for b in found)
        return Point(rate, integers, steps, tuple(found), total)


def prepare(
    model: onnx.ModelProto,
    samples: Sequence[Feeds],
    divergence: Divergence,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> Prepared:
    """Measure a model's layers on unlabelled samples.

    A quarter of the samples is held out: on it each layer's damping is chosen and its effect on
    the model's final output is measured, with the noise that error feedback really makes.

    Args:
        model: Clean, BatchNorm folded, nodes named.
        samples: Calibration batches, a few hundred samples in all.
        divergence: Compares outputs with the reference's.
        seed: Chooses positions.
        progress: Told how far the work is.

    Returns:
        The measured model.

    Raises:
        NoGainError: The model has no layer that can be quantized so.
        OptionError: There are too few samples.
    """
    layers = find_layers(model)
    if not layers:
        raise NoGainError("rate-distortion quantization found no Conv, Gemm or MatMul weights.")
    if len(samples) < 4:
        raise OptionError(f"needs at least 4 calibration batches, got {len(samples)}.")
    held = samples[3::4]
    fitted = [feeds for i, feeds in enumerate(samples) if i % 4 != 3]
    moments = second_moments(model, layers, fitted, seed=seed, progress=progress)
    checks = second_moments(model, layers, held, seed=seed, progress=progress)
    parts = []
    weights = {layer.name: weight_of(model, layer.name) for layer in layers}

    def measured(layer: Layer) -> Part:
        matrix = layer.matrix(weights[layer.name]).astype(np.float64)
        return _fit(layer, matrix, moments[layer.name], checks[layer.name])

    for i, part in enumerate(ordered_map(measured, layers)):
        parts.append(part)
        progress("choosing the damping", i + 1, len(layers))
    return Prepared(model, _sensitive(model, parts, checks, held, divergence, progress))


def replaced(model: onnx.ModelProto, weights: Mapping[str, NDArray[np.float32]]) -> onnx.ModelProto:
    """Return a copy with some initializers replaced."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    for tensor in out.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name], tensor.name))
    return out


def expanded(point: Point) -> dict[str, NDArray[np.float32]]:
    """Return a point's weights in float32: integers times steps."""
    return {n: q.astype(np.float32) * point.steps[n] for n, q in point.integers.items()}


def _fit(
    layer: Layer, weights: Array, moment: NDArray[np.float32], check: NDArray[np.float32]
) -> Part:
    """Choose the damping whose rounding at the nominal rate errs least on held-out samples."""
    best: tuple[float, float, tuple[Array, ...]] | None = None
    price = _nominal_price(weights, check)
    for damping in DAMPINGS:
        factors = tuple(inverse_factor(h, damping) for h in moment)
        part = Part(layer, weights, factors, damping)
        rounded, step = _round_part(part, price, COARSENESS)
        gap = rounded.astype(np.float64) * float(step) - weights
        error = sum(output_error(g, h) for g, h in zip(gap, check, strict=True))
        cost = error + price * entropy_bits(rounded)
        if best is None or cost < best[0]:
            best = (cost, damping, factors)
    assert best is not None
    return Part(layer, weights, best[2], best[1])


def _nominal_price(weights: Array, moment: NDArray[np.float32]) -> float:
    energy = sum(output_error(w, h) for w, h in zip(weights, moment, strict=True))
    return _NOMINAL * max(energy, 1e-30) / weights.size


def _round_part(part: Part, price: float, coarseness: float) -> tuple[NDArray[np.int8], np.float32]:
    groups, outputs, _ = part.weights.shape
    spread = float(np.mean([np.mean(np.diag(u) ** 2) for u in part.factors]))
    largest = float(np.abs(part.weights).max())
    step = np.float32(min(max(math.sqrt(coarseness * price * spread), largest / 127), 2 * largest))
    if not step > 0:
        return np.zeros(part.weights.shape, np.int8), np.float32(1)
    steps, prices = np.full(outputs, float(step)), np.full(outputs, price)
    rounded = np.stack([nearest(w, steps) for w in part.weights])
    for _ in range(_ROUNDS):
        bits = bit_costs(rounded)
        rounded = np.stack(
            [
                round_rows(part.weights[g], part.factors[g], steps, prices, bits)
                for g in range(groups)
            ]
        )
    return rounded, step


def _sensitive(
    model: onnx.ModelProto,
    parts: Sequence[Part],
    checks: Mapping[str, NDArray[np.float32]],
    held: Sequence[Feeds],
    divergence: Divergence,
    progress: Progress,
) -> tuple[Part, ...]:
    """Quantize one layer at a time and look at the model's final output on held-out samples."""
    reference = list(predict(open_session(model), held))
    found = []
    for i, part in enumerate(parts):
        check = checks[part.layer.name]
        price = _nominal_price(part.weights, check)
        rounded, step = _round_part(part, price, COARSENESS)
        values = rounded.astype(np.float64) * float(step)
        error = sum(
            output_error(v - w, h) for v, w, h in zip(values, part.weights, check, strict=True)
        )
        weight = part.layer.stored(values.astype(np.float32))
        noisy = open_session(replaced(model, {part.layer.name: weight}))
        effect = max(divergence(reference, list(predict(noisy, held))), 1e-12)
        found.append(
            Part(
                part.layer,
                part.weights,
                part.factors,
                part.damping,
                sensitivity=effect / max(error, 1e-30),
                alone=effect,
            )
        )
        progress("measuring each layer's effect on the output", i + 1, len(parts))
    return tuple(found)
