"""From a model and calibration samples to points on its rate-distortion curve."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray

from sprat.errors import NoGainError, OptionError
from sprat.model.session import Feeds, open_session, predict
from sprat.parallel import ordered_map
from sprat.progress import Progress, silent
from sprat.quantization.rate_distortion.biases import shorten
from sprat.quantization.rate_distortion.layers import Layer, find_layers, weight_of
from sprat.quantization.rate_distortion.look import Divergence, Look, relative_error
from sprat.quantization.rate_distortion.moments import Moments, input_moments
from sprat.quantization.rate_distortion.rounding import (
    LIMIT,
    Array,
    bit_costs,
    entropy_bits,
    inverse_factor,
    nearest,
    output_error,
    round_best,
    round_rows,
)

#: A small damping lets errors be made good boldly, which saves bits.
DAMPING = 0.003
#: Tried beside it where the samples do not determine the moment: fewer vectors than this many
#: times the columns.
CAUTIOUS_DAMPING = 0.1
_DETERMINED = 4
#: A second way is measured for the whole model where its factors take no more than this.
_SPARE_BYTES = 1 << 27
#: A quarter of the batches is held out, so there must be four.
LEAST_BATCHES = 4
#: Layers of more bits a weight than this also try one step per output channel.
_DENSE = 1.5
#: What a channel's own step costs on the wire.
_STEP_BITS = 16
#: Divergence that all the bits of a model with one bit a weight are worth at a usual point: where
#: the walk along the curve begins, and where dampings are compared.
TYPICAL = 4e-3
#: Mantissa bits of the biases: the first that changes the output by less than this share of the
#: usual divergence.
_BIAS_BITS = (8, 12, 16)
_UNNOTICED = 0.01
#: Nominal error at which a layer's sensitivity is measured, as a share of its output's energy.
_NOMINAL = 0.02
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
        per_channel: Steps are proportional to each output channel's rms, one scale each.
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
        steps: dict[str, NDArray[np.float32]] = {}
        biases: dict[str, NDArray[np.float32]] = {}
        found: list[LayerBits] = []

        def one(part: Part) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
            return _round_part(part, rate / part.sensitivity, self.coarseness)

        for i, (part, (rounded, found_steps)) in enumerate(
            zip(self.parts, ordered_map(one, self.parts), strict=True)
        ):
            name = part.layer.name
            integers[name] = part.layer.stored(rounded)
            steps[name] = found_steps
            biases |= _corrected(part, rounded, found_steps)
            bits = entropy_bits(rounded)
            found.append(LayerBits(name, rounded.size, bits / rounded.size, part.alone))
            progress("rounding", i + 1, len(self.parts))
        total = sum(b.bits_per_weight * b.weights for b in found)
        axes = {part.layer.name: part.layer.axis for part in self.parts}
        return Point(rate, integers, steps, axes, biases, tuple(found), total)


@dataclass(frozen=True)
class Ways:
    """The same model measured in a few ways, and a look at how a point of each does.

    Attributes:
        prepared: Dampings chosen by layer; where memory allows, also cautious ones throughout.
        look: Divergence of a point on the held-out samples.
        rate: Price of a bit at a usual point.
        moments: Layer name to its moments over all samples, to be used once a way is chosen.
    """

    prepared: tuple[Prepared, ...]
    look: Callable[[Point], float]
    rate: float
    moments: Mapping[str, Moments]


def measure(
    model: onnx.ModelProto,
    samples: Sequence[Feeds],
    divergence: Divergence | None = None,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> Ways:
    """Measure a model's layers on unlabelled samples.

    A quarter of the samples is held out: on it each layer's effect on the model's final output
    is measured, with the noise that error feedback really makes, and its damping is chosen.

    Args:
        model: Clean, BatchNorm folded, nodes named.
        samples: Calibration batches, a few hundred samples in all.
        divergence: Compares outputs with the reference's; by default the squared error of all
            outputs over their mean square.
        seed: Chooses positions.
        progress: Told how far the work is.

    Returns:
        The measured model, in one way or two.

    Raises:
        NoGainError: The model has no layer that can be quantized so.
        OptionError: There are too few samples.
    """
    layers = find_layers(model)
    if not layers:
        raise NoGainError("rate-distortion quantization found no Conv, Gemm or MatMul weights.")
    if len(samples) < LEAST_BATCHES:
        raise OptionError(
            f"needs at least {LEAST_BATCHES} calibration batches, got {len(samples)}.",
            where="--data",
        )
    held = samples[3::4]
    fitted = [feeds for i, feeds in enumerate(samples) if i % 4 != 3]
    moments = input_moments(model, layers, fitted, seed=seed, progress=progress)
    checks = input_moments(model, layers, held, seed=seed, progress=progress)
    compared = divergence or relative_error
    look = Look(model, held, list(predict(open_session(model), held)), compared)
    total = sum(math.prod(layer.shape) for layer in layers)
    rate = TYPICAL / total
    small = sum(4 * layer.groups * layer.columns**2 for layer in layers) <= _SPARE_BYTES
    bold = (DAMPING, CAUTIOUS_DAMPING) if small else (DAMPING,)
    kinds = (bold, (CAUTIOUS_DAMPING,)) if small else (bold,)
    parts: tuple[list[Part], ...] = tuple([] for _ in kinds)
    bits = _bias_bits(model, layers, look)
    whole: dict[str, Moments] = {}

    def begin(layer: Layer) -> list[_Begun]:
        fitted_moments, held_moments = moments.pop(layer.name), checks.pop(layer.name)
        begun = [
            _begin(_candidates(model, layer, fitted_moments, bits, dampings), held_moments.second)
            for dampings in kinds
        ]
        whole[layer.name] = fitted_moments.merged(held_moments)
        return begun

    rest = look
    for i, (layer, begun) in enumerate(zip(layers, ordered_map(begin, layers), strict=True)):
        rest = rest.from_node(layer.node)
        for found, one in zip(parts, begun, strict=True):
            found.append(_measure(one, rest, rate))
        progress("measuring each layer's effect on the output", i + 1, len(layers))
    ways = tuple(Prepared(model, tuple(found)) for found in parts)
    return Ways(ways, lambda point: look.at(expanded(point)), rate, whole)


def _bias_bits(model: onnx.ModelProto, layers: Sequence[Layer], look: Look) -> int:
    """Return the fewest mantissa bits of the biases that the model's output does not notice."""
    biases = {layer.bias: weight_of(model, layer.bias) for layer in layers if layer.bias}
    for bits in _BIAS_BITS[:-1]:
        short = {name: shorten(values, bits) for name, values in biases.items()}
        if look.at(short) <= _UNNOTICED * TYPICAL:
            return bits
    return _BIAS_BITS[-1]


def _candidates(
    model: onnx.ModelProto,
    layer: Layer,
    moments: Moments,
    bias_bits: int,
    dampings: Sequence[float],
) -> list[Part]:
    sure = moments.vectors >= _DETERMINED * layer.columns
    weights = layer.matrix(weight_of(model, layer.name)).astype(np.float64)
    bias = weight_of(model, layer.bias) if layer.bias else None

    def part(damping: float) -> Part:
        factors = np.stack([inverse_factor(h, damping) for h in moments.second])
        return Part(layer, weights, bias, moments.mean, factors, damping, bias_bits)

    return [part(damping) for damping in (dampings[:1] if sure else dampings)]


@dataclass(frozen=True)
class _Begun:
    """A layer with the dampings that it may get, rounded by the first of them.

    Attributes:
        candidates: One for each damping.
        rounded: By the first, at a nominal error.
        step: Of the integers.
        error: At the layer's own output, on held-out samples.
    """

    candidates: list[Part]
    rounded: NDArray[np.int8]
    step: NDArray[np.float32]
    error: float


def _begin(candidates: list[Part], check: NDArray[np.float32]) -> _Begun:
    first = candidates[0]
    rounded, step = _round_part(first, _nominal_price(first.weights, check), COARSENESS)
    gap = _multiplied(rounded, step) - first.weights
    error = sum(output_error(g, h) for g, h in zip(gap, check, strict=True))
    return _Begun(candidates, rounded, step, error)


def _measure(begun: _Begun, look: Look, rate: float) -> Part:
    """Measure a layer's effect on the final output, and choose its damping and steps by it.

    The layer alone is replaced by its rounded form, to learn what a unit of its output error does
    to the model's output. Where there is a choice, it is rounded again each way at the price that
    a usual point has; the least divergence plus price of the bits is taken. (The error at the
    layer's own output on held-out samples is a worse judge: it prefers large dampings that cost
    more bits at the same final divergence.)
    """
    first = begun.candidates[0]
    alone = _effect(look, first, begun.rounded, begun.step)
    sensitivity = alone / max(begun.error, 1e-30)
    price = rate / sensitivity
    dense = entropy_bits(_round_part(first, price, COARSENESS)[0]) > _DENSE * first.weights.size
    ways = [*begun.candidates, *(replace(c, per_channel=True) for c in begun.candidates if dense)]

    def cost(way: Part) -> float:
        rounded, steps = _round_part(way, price, COARSENESS)
        effect = _effect(look, way, rounded, steps)
        return effect + rate * (entropy_bits(rounded) + _STEP_BITS * steps.size)

    best = min(ways, key=cost) if len(ways) > 1 else first
    return replace(best, sensitivity=sensitivity, alone=alone)


def _effect(look: Look, part: Part, rounded: NDArray[np.int8], steps: NDArray[np.float32]) -> float:
    weight = part.layer.stored(_multiplied(rounded, steps).astype(np.float32))
    return look.at({part.layer.name: weight, **_corrected(part, rounded, steps)})


def refitted(part: Part, moments: Moments) -> Part:
    """Return a layer that is rounded by all samples, once the held-out ones have made their choice.

    Args:
        part: Measured on the others.
        moments: Of all samples.
    """
    factors = np.stack([inverse_factor(h, part.damping) for h in moments.second])
    return replace(part, mean=moments.mean, factors=factors)


def _multiplied(rounded: NDArray[np.int8], steps: NDArray[np.float32]) -> Array:
    rows = rounded.reshape(-1, rounded.shape[-1]).astype(np.float64)
    return (rows * steps.reshape(-1, 1).astype(np.float64)).reshape(rounded.shape)


def _corrected(
    part: Part, rounded: NDArray[np.int8], steps: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """Return the bias that keeps a layer's mean output what it was, if it has one."""
    if part.bias is None:
        return {}
    gap = part.weights - _multiplied(rounded, steps)
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


def _nominal_price(weights: Array, moment: NDArray[np.float32]) -> float:
    energy = sum(output_error(w, h) for w, h in zip(weights, moment, strict=True))
    return _NOMINAL * max(energy, 1e-30) / weights.size


def _round_part(
    part: Part, price: float, coarseness: float
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round a layer; return integers ``[groups, outputs, columns]`` and its step or steps."""
    groups, outputs, _ = part.weights.shape
    steps = _steps(part, price, coarseness)
    rows = np.broadcast_to(steps, groups * outputs).reshape(groups, outputs).astype(np.float64)
    prices = np.full(outputs, price)
    factors = part.factors.astype(np.float64)
    rounded = np.stack([nearest(w, s) for w, s in zip(part.weights, rows, strict=True)])
    for last in (False, True):
        method = round_best if last else round_rows
        bits = bit_costs(rounded)
        rounded = np.stack(
            [method(part.weights[g], factors[g], rows[g], prices, bits) for g in range(groups)]
        )
    return rounded, steps


def _steps(part: Part, price: float, coarseness: float) -> NDArray[np.float32]:
    """Return the distance between levels: float32 ``[]``, or ``[channels]``."""
    spread = float(np.mean(np.einsum("gii->gi", part.factors).astype(np.float64) ** 2))
    wanted = math.sqrt(coarseness * price * spread)
    rows = part.weights.reshape(-1, part.weights.shape[-1])
    if not part.per_channel:
        largest = max(float(np.abs(rows).max()), 1e-30)
        return shorten(np.asarray(min(max(wanted, largest / LIMIT), 2 * largest)), rounding="up")
    largest_each = np.maximum(np.abs(rows).max(axis=1), 1e-30)
    rms = np.sqrt(np.mean(rows**2, axis=1))
    # The mean square of the steps stays, so that the layer's error stays about the same.
    shares = rms / max(float(np.sqrt(np.mean(rms**2))), 1e-30)
    return shorten(np.clip(wanted * shares, largest_each / LIMIT, 2 * largest_each), rounding="up")
