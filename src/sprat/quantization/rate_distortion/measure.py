"""Measure a model's layers: what an error in each does to the model's output."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import onnx
from numpy.typing import NDArray

from sprat.data.dataset import Batches
from sprat.errors import NoGainError, OptionError
from sprat.model.session import Feeds, open_session, predict, samples_in
from sprat.parallel import ordered_map
from sprat.progress import Progress, silent
from sprat.quantization.rate_distortion.biases import shorten
from sprat.quantization.rate_distortion.engine import Point, Prepared, expanded
from sprat.quantization.rate_distortion.layers import Layer, find_layers, weight_of
from sprat.quantization.rate_distortion.look import Divergence, Look, relative_error
from sprat.quantization.rate_distortion.moments import Moments, awake, input_moments
from sprat.quantization.rate_distortion.part import (
    COARSENESS,
    Part,
    initializers,
    multiplied,
    round_part,
)
from sprat.quantization.rate_distortion.rounding import (
    Array,
    entropy_bits,
    inverse_factor,
    nearest,
    output_error,
)
from sprat.quantization.rate_distortion.steps import BY_GROUP, SCALE_BITS, steps_of
from sprat.spread import ALONE, Spread, Task

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
#: Fewer held-out samples do not show whether a model answers differently to different ones.
_ENOUGH_HELD = 32
#: Layers of more bits a weight than this also try one step per output channel.
_DENSE = 1.5
#: Steps by group must cost less than this share of the others' cost: so many ways compared on so
#: few samples find one that looks a little better by chance.
_CLEARLY = 0.8
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
        look: Divergence of a point on the held-out samples.
        rate: Price of a bit at a usual point.
        moments: Layer name to its moments over all samples, to be used once a way is chosen;
            empty where there is a single way, whose factors are of all samples already.
        whole: A look at the whole model, on the held-out samples; on all where these are few.
    """

    prepared: tuple[Prepared, ...]
    look: Callable[[Point], float]
    rate: float
    moments: Mapping[str, Moments]
    whole: Look


@dataclass(frozen=True)
class Measured:
    """One layer.

    Attributes:
        parts: It in each way.
        moments: Over all samples; None where its factors are of all samples already.
    """

    parts: tuple[Part, ...]
    moments: Moments | None


@dataclass(frozen=True, eq=False)
class Measuring(Task[tuple[int, ...], Measured]):
    """Measures layers that are given by their numbers, in the order in which they run.

    Attributes:
        model: Clean, BatchNorm folded, nodes named.
        samples: Calibration batches.
        divergence: Compares outputs with the reference's.
        seed: Chooses positions.
        progress: Told how far the work is.
    """

    model: onnx.ModelProto
    samples: Sequence[Feeds]
    divergence: Divergence
    seed: int = 0
    progress: Progress = silent

    @cached_property
    def layers(self) -> list[Layer]:
        """All of the model's."""
        return find_layers(self.model)

    @cached_property
    def look(self) -> Look:
        """Looks at the model on the held-out samples."""
        _, held = divided(self.samples)
        outputs = list(predict(open_session(self.model), held))
        return Look(self.model, held, outputs, self.divergence)

    @cached_property
    def whole(self) -> Look:
        """Looks at the model on enough samples to say what it answers to different ones."""
        if len(self.look.held) * samples_in(self.look.held[0]) >= _ENOUGH_HELD:
            return self.look
        outputs = list(predict(open_session(self.model), self.samples))
        return Look(self.model, list(self.samples), outputs, self.divergence)

    @property
    def rate(self) -> float:
        """Price of a bit at a usual point."""
        return TYPICAL / sum(math.prod(layer.shape) for layer in self.layers)

    @property
    def small(self) -> bool:
        """Whether memory allows a second way."""
        return sum(4 * layer.groups * layer.columns**2 for layer in self.layers) <= _SPARE_BYTES

    def __call__(self, numbers: tuple[int, ...]) -> Iterator[Measured]:
        """Yield each layer, measured."""
        whole: dict[str, Moments] = {}
        if self.small:
            for parts in self._measured(numbers, whole):
                yield Measured(parts, whole.pop(parts[0].layer.name))
            return
        single = [part for parts in self._measured(numbers, whole) for part in parts]

        def finished(part: Part) -> Part:
            return with_all_samples(part, whole.pop(part.layer.name))

        for done, part in enumerate(ordered_map(finished, single, ahead=1), 1):
            yield Measured((part,), None)
            self.progress("taking in the samples that were held out", done, len(single))

    def _measured(
        self, numbers: Sequence[int], whole: dict[str, Moments]
    ) -> Iterator[tuple[Part, ...]]:
        """Yield each layer in each way, and keep its moments over all samples in ``whole``."""
        model, small, rest = self.model, self.small, self.look
        layers = [self.layers[i] for i in numbers]
        fitted, held = divided(self.samples)
        moments, checks = (
            input_moments(
                model, layers, some, seed=self.seed, among=self.layers, progress=self.progress
            )
            for some in (fitted, held)
        )
        bold = (DAMPING, CAUTIOUS_DAMPING) if small else (DAMPING,)
        kinds = (bold, (CAUTIOUS_DAMPING,)) if small else (bold,)
        bits = _bias_bits(model, self.layers, rest)

        def begin(layer: Layer) -> list[_Begun]:
            fitted_moments, held_moments = moments.pop(layer.name), checks.pop(layer.name)
            begun = [
                _begin(
                    _candidates(model, layer, fitted_moments, bits, dampings), held_moments.second
                )
                for dampings in kinds
            ]
            whole[layer.name] = fitted_moments.merged(held_moments)
            return begun

        all_begun = ordered_map(begin, layers, ahead=1)
        done = 0
        for number, layer in enumerate(self.layers[: max(numbers) + 1]):
            # Every cut is made, also for layers that others measure: the cuts decide what the
            # runtime fuses, and so may decide the last bits.
            rest = rest.from_node(layer.node)
            if number in numbers:
                # No variable here keeps what has begun while the next is waited for: it may be
                # large.
                yield _each_way(next(all_begun), rest, self.rate, keep=small)
                done += 1
                self.progress("measuring each layer's effect on the output", done, len(layers))


def measure(
    model: onnx.ModelProto,
    samples: Sequence[Feeds],
    divergence: Divergence | None = None,
    *,
    seed: int = 0,
    progress: Progress = silent,
    spread: Spread = ALONE,
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
        spread: Who takes part.

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
    task = Measuring(model, samples, divergence or relative_error, seed, progress)
    found: dict[str, Measured] = {}
    for one in spread.flat(task, shares(layers, spread.parties)):
        found[one.parts[0].layer.name] = one
    in_order = [found[layer.name] for layer in layers]
    ways = tuple(
        Prepared(model, parts) for parts in zip(*(one.parts for one in in_order), strict=True)
    )
    whole = {name: one.moments for name, one in found.items() if one.moments is not None}
    return Ways(ways, lambda point: task.look.at(expanded(point)), task.rate, whole, task.whole)


def shares(layers: Sequence[Layer], parties: int) -> list[tuple[int, ...]]:
    """Divide layers so that each share takes about as long, the dearest layers dealt out first.

    Args:
        layers: In the order in which they run.
        parties: At most so many shares; each costs a run of the model over all samples.

    Returns:
        Numbers of layers, ascending in each share.
    """
    costs = [layer.groups * layer.columns**2 for layer in layers]
    # The look at the output takes for every layer alike what the moments take for a usual one.
    usual = sum(costs) / len(costs)
    dealt: list[list[int]] = [[] for _ in range(min(parties, len(layers)))]
    loads = [0.0] * len(dealt)
    for number in sorted(range(len(layers)), key=lambda i: (-costs[i], i)):
        least = loads.index(min(loads))
        dealt[least].append(number)
        loads[least] += costs[number] + usual
    return [tuple(sorted(share)) for share in dealt]


def divided(samples: Sequence[Feeds]) -> tuple[Batches, list[Feeds]]:
    """Return the batches that moments are made of, and those, evenly between, that are held out."""
    every = max(LEAST_BATCHES, samples_in(samples[0]) * len(samples) // _MOST_HELD)
    fitted = [i for i in range(len(samples)) if (i + 1) % every]
    return Batches(samples.__getitem__, fitted), list(samples[every - 1 :: every])


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


def _each_way(begun: Sequence[_Begun], look: Look, rate: float, *, keep: bool) -> tuple[Part, ...]:
    """Measure a layer in each way; a single way is not rounded again before it gets new factors."""
    parts = [_measure(one, look, rate) for one in begun]
    return tuple(parts if keep else [without_factors(part) for part in parts])


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
    grouped = begun.candidates if first.layer.groups > 1 else []
    ways = [
        *begun.candidates,
        *(replace(c, spacing="rms") for c in dense),
        *(replace(c, spacing=spacing) for c in grouped for spacing in BY_GROUP),
    ]

    def cost(way: Part) -> float:
        rounded, steps = round_part(way, price, COARSENESS)
        effect = _effect(look, way, rounded, steps)
        paid = effect + rate * (entropy_bits(rounded) + SCALE_BITS * steps.size)
        return paid / _CLEARLY if way.spacing in BY_GROUP else paid

    best = min(ways, key=cost) if len(ways) > 1 else first
    return replace(best, sensitivity=sensitivity, alone=alone)


def _is_dense(part: Part, price: float) -> bool:
    """Say whether a layer needs many bits; plain rounding, which needs more, is asked first."""
    limit = _DENSE * part.weights.size
    steps = steps_of(part.weights, part.factors, price, COARSENESS)
    plain = nearest(part.weights.reshape(-1, part.weights.shape[-1]), np.atleast_1d(steps))
    return (
        entropy_bits(plain) > limit and entropy_bits(round_part(part, price, COARSENESS)[0]) > limit
    )


def _effect(look: Look, part: Part, rounded: NDArray[np.int8], steps: NDArray[np.float32]) -> float:
    return look.at(initializers(part, (rounded, steps)))


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
    factors = [inverse_factor(h, damping) for h in awake(moments)]
    return factors[0][None] if len(factors) == 1 else np.stack(factors)  # no copy of a wide one


def _nominal_price(weights: Array, moment: NDArray[np.float32]) -> float:
    energy = sum(output_error(w, h) for w, h in zip(weights, moment, strict=True))
    return _NOMINAL * max(energy, 1e-30) / weights.size
