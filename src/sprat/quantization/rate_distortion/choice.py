"""Choose what single layers cannot tell: how boldly the whole model is rounded.

A layer that is rounded alone hides how errors add up through a network. In compact networks with
depthwise convolutions they do, and what looks best layer by layer collapses as a whole. Therefore
whole models are rounded in a few ways and compared at the final output, on held-out samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import onnx

from sprat.model.session import Feeds
from sprat.parallel import ordered_map
from sprat.progress import Progress, silent
from sprat.quantization.rate_distortion.checks import Checks
from sprat.quantization.rate_distortion.engine import Prepared
from sprat.quantization.rate_distortion.look import Divergence
from sprat.quantization.rate_distortion.measure import (
    Ways,
    measure,
    with_all_samples,
)
from sprat.quantization.rate_distortion.part import Part
from sprat.quantization.rate_distortion.refit import refit
from sprat.spread import ALONE, Spread

#: Divergence at which ways are compared: about where a budget of one point ends.
_USUAL = 0.03
_STRIDE = 4.0
_MOST_STRIDES = 4
_RATES = (1.0, 0.5, 0.25)
#: Powers of the measured sensitivities: 1 trusts them, less draws them to their mean.
_TRUST = (1.0, 0.5)


def prepare(
    model: onnx.ModelProto,
    samples: Sequence[Feeds],
    divergence: Divergence | None = None,
    *,
    seed: int = 0,
    progress: Progress = silent,
    spread: Spread = ALONE,
) -> Prepared:
    """Measure a model's layers and choose how boldly it is rounded.

    Args:
        model: Clean, BatchNorm folded, nodes named.
        samples: Calibration batches, a few hundred samples in all.
        divergence: Compares outputs with the reference's; by default the squared error of all
            outputs over their mean square.
        seed: Chooses positions.
        progress: Told how far the work is.
        spread: Who takes part.

    Returns:
        The measured model.

    Raises:
        NoGainError: The model has no layer that can be quantized so.
        OptionError: There are too few samples.
    """
    ways = measure(model, samples, divergence, seed=seed, progress=progress, spread=spread)
    parts = choose(ways).parts
    moments, checks = dict(ways.moments), Checks(ways.whole)
    del ways  # and with it the factors of the other one

    def whole(part: Part) -> Part:
        return with_all_samples(part, moments.pop(part.layer.name))

    if moments:
        parts = tuple(ordered_map(whole, parts))
    again = refit(model, parts, samples, seed=seed, progress=progress, spread=spread)
    return Prepared(model, parts, again=again, checks=checks, spread=spread)


def choose(ways: Ways) -> Prepared:
    """Choose among the ways, each with full and with tempered sensitivities.

    The rate is lowered until the first way does not collapse. There and at two lower rates (one
    point is noisy) the least divergence plus price of the bits wins, the Lagrangian of
    rate-distortion theory. A large model is measured in one way only and keeps it.

    Args:
        ways: From :func:`sprat.quantization.rate_distortion.measure.measure`.

    Returns:
        The best way.
    """
    first = ways.prepared[0]
    if len(ways.prepared) == 1:
        return first
    rate = ways.rate
    for _ in range(_MOST_STRIDES):
        if ways.look(first.quantize(rate)) <= _USUAL:
            break
        rate /= _STRIDE
    return min(_tempered(ways.prepared), key=lambda way: cost(ways, way, rate))


def cost(ways: Ways, way: Prepared, rate: float) -> float:
    """Return bits plus divergence in units of a bit's price, summed over a few rates.

    Args:
        ways: Looks at points.
        way: One of them.
        rate: The largest of the rates.
    """
    points = [way.quantize(rate * share) for share in _RATES]
    return sum(point.bits + ways.look(point) / point.rate for point in points)


def _tempered(ways: Sequence[Prepared]) -> Iterator[Prepared]:
    for way in ways:
        for trust in _TRUST:
            yield temper(way, trust)


def temper(prepared: Prepared, trust: float) -> Prepared:
    """Draw the layers' sensitivities towards their geometric mean over the weights.

    Args:
        prepared: Measured layers.
        trust: 1 keeps them, 0 makes them equal.
    """
    total = sum(part.weights.size for part in prepared.parts)
    mean = sum(part.weights.size * math.log(part.sensitivity) for part in prepared.parts) / total

    def one(part: Part) -> Part:
        level = mean + trust * (math.log(part.sensitivity) - mean)
        return replace(part, sensitivity=math.exp(level))

    return replace(prepared, parts=tuple(one(part) for part in prepared.parts))
