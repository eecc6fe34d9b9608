"""Measure a model's layers: what an error in each does to the model's output."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray

from sprat.data.dataset import Batches
from sprat.errors import NoGainError, OptionError
from sprat.model.session import Feeds, open_session, predict, samples_in
from sprat.parallel import ordered_map
from sprat.progress import Progress, silent
from sprat.quantization.rate_distortion.biases import shorten
from sprat.quantization.rate_distortion.engine import (
    COARSENESS,
    Part,
    Point,
    Prepared,
    corrected,
    expanded,
    multiplied,
    round_part,
    steps_of,
)
from sprat.quantization.rate_distortion.layers import Layer, find_layers, weight_of
from sprat.quantization.rate_distortion.look import Divergence, Look, relative_error
from sprat.quantization.rate_distortion.moments import Moments, input_moments
from sprat.quantization.rate_distortion.refit import Inputs, last_inputs
from sprat.quantization.rate_distortion.rounding import (
    Array,
    entropy_bits,
    inverse_factor,
    nearest,
    output_error,
)

#: A small damping lets errors be made good boldly, which saves bits.
DAMPING = 0.003
#: Tried beside it where the samples do not determine the moment: fewer vectors than this many
#: times the columns.
CAUTIOUS_DAMPING = 0.1
_DETERMINED = 4
#: A second way is measured for the whole model where its factors take no more than this.
_SPARE_BYTES = 1 << 27
#: A quarter of the batches is held out, so there must be four; less of many samples, since each
#: held-out one is looked at once for every layer.
LEAST_BATCHES = 4
_MOST_HELD = 128
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


@dataclass(frozen=True)
class Ways:
    """The same model measured in a few ways, and a look at how a point of each does.

    Attributes:
        prepared: Dampings chosen by layer; where memory allows, also cautious ones throughout.
            A single way comes without its factors.
        look: Divergence of a point on the held-out samples.
        rate: Price of a bit at a usual point.
        moments: Layer name to its moments over all samples, to be used once a way is chosen.
        inputs: What arrives at the last layers, by sample.
    """

    prepared: tuple[Prepared, ...]
    look: Callable[[Point], float]
    rate: float
    moments: Mapping[str, Moments]
    inputs: Inputs


def measure(
    model: onnx.ModelProto,
    samples: Sequence[Feeds],
    divergence: Divergence | None = None,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> Ways:
    """Measure a model's layers on unlabelled samples.

    Some samples are held out, a quarter or 128: on them each layer's effect on the model's final
    output is measured, with the noise that error feedback really makes, and its damping is chosen.

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
    fitted, held = divided(samples)
    inputs = last_inputs(model, layers, samples, seed=seed)
    moments, checks = (
        input_moments(model, layers, some, seed=seed, progress=progress, told=inputs.take)
        for some in (fitted, held)
    )
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
    all_begun = ordered_map(begin, layers, ahead=1)
    for i, layer in enumerate(layers):
        rest = rest.from_node(layer.node)
        # No variable here keeps what has begun while the next is waited for: it may be large.
        measured = _measured(next(all_begun), rest, rate, keep=small)
        for found, part in zip(parts, measured, strict=True):
            found.append(part)
        progress("measuring each layer's effect on the output", i + 1, len(layers))
    ways = tuple(Prepared(model, tuple(found)) for found in parts)
    return Ways(
        ways, lambda point: look.at(expanded(point)), rate, whole, _in_order(inputs, samples)
    )


def divided(samples: Sequence[Feeds]) -> tuple[Batches, list[Feeds]]:
    """Return the batches that moments are made of, and those, evenly between, that are held out."""
    held = _held(samples)
    fitted = [i for i in range(len(samples)) if i not in held]
    return Batches(samples.__getitem__, fitted), [samples[i] for i in held]


def _held(samples: Sequence[Feeds]) -> range:
    every = max(LEAST_BATCHES, samples_in(samples[0]) * len(samples) // _MOST_HELD)
    return range(every - 1, len(samples), every)


def _in_order(inputs: Inputs, samples: Sequence[Feeds]) -> Inputs:
    """Put batches that were run as :func:`divided` says into the samples' order."""
    held = _held(samples)
    run = sorted(range(len(samples)), key=lambda i: i in held)
    batches = dict(zip(run, inputs.batches, strict=True))
    return replace(inputs, batches=[batches[i] for i in range(len(samples))])


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
        factors = _factors(moments, damping)
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
    rounded, step = round_part(first, _nominal_price(first.weights, check), COARSENESS)
    gap = multiplied(rounded, step) - first.weights
    error = sum(output_error(g, h) for g, h in zip(gap, check, strict=True))
    return _Begun(candidates, rounded, step, error)


def _measured(begun: Sequence[_Begun], look: Look, rate: float, *, keep: bool) -> list[Part]:
    """Measure a layer in each way; a single way is not rounded again before it gets new factors."""
    parts = [_measure(one, look, rate) for one in begun]
    return parts if keep else [without_factors(part) for part in parts]


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
    dense = begun.candidates if _is_dense(first, price) else []
    ways = [*begun.candidates, *(replace(c, per_channel=True) for c in dense)]

    def cost(way: Part) -> float:
        rounded, steps = round_part(way, price, COARSENESS)
        effect = _effect(look, way, rounded, steps)
        return effect + rate * (entropy_bits(rounded) + _STEP_BITS * steps.size)

    best = min(ways, key=cost) if len(ways) > 1 else first
    return replace(best, sensitivity=sensitivity, alone=alone)


def _is_dense(part: Part, price: float) -> bool:
    """Say whether a layer needs many bits; plain rounding, which needs more, is asked first."""
    limit = _DENSE * part.weights.size
    steps = steps_of(part, price, COARSENESS)
    plain = nearest(part.weights.reshape(-1, part.weights.shape[-1]), np.atleast_1d(steps))
    return (
        entropy_bits(plain) > limit and entropy_bits(round_part(part, price, COARSENESS)[0]) > limit
    )


def _effect(look: Look, part: Part, rounded: NDArray[np.int8], steps: NDArray[np.float32]) -> float:
    weight = part.layer.stored(multiplied(rounded, steps).astype(np.float32))
    return look.at({part.layer.name: weight, **corrected(part, rounded, steps)})


def without_factors(part: Part) -> Part:
    """Return a layer that waits for :func:`with_all_samples`."""
    return replace(part, factors=np.empty((0, 0, 0), np.float32))


def with_all_samples(part: Part, moments: Moments) -> Part:
    """Return a layer that is rounded by all samples, once the held-out ones have made their choice.

    Args:
        part: Measured on the others.
        moments: Of all samples.
    """
    return replace(part, mean=moments.mean, factors=_factors(moments, part.damping))


def _factors(moments: Moments, damping: float) -> NDArray[np.float32]:
    """Return the inverse factor of each group."""
    factors = [inverse_factor(h, damping) for h in moments.second]
    return factors[0][None] if len(factors) == 1 else np.stack(factors)  # no copy of a wide one


def _nominal_price(weights: Array, moment: NDArray[np.float32]) -> float:
    energy = sum(output_error(w, h) for w, h in zip(weights, moment, strict=True))
    return _NOMINAL * max(energy, 1e-30) / weights.size
