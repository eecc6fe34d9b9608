"""The point on the curve that has so many bits a weight."""

from __future__ import annotations

import math
from dataclasses import replace

from sprat.errors import OptionError
from sprat.progress import Progress, silent
from sprat.quantization.rate_distortion.engine import Point, Prepared
from sprat.quantization.rate_distortion.measure import TYPICAL

_MOST_HALVINGS = 24
_NEAR = 0.01
#: The last layers, fitted anew, take other bits than before.
_MOST_FITS = 4
#: A point of more than so many times the bits that were asked for is not what was asked for.
_MOST_OVER = 1.25


def at_bits(prepared: Prepared, bits_per_weight: float, progress: Progress = silent) -> Point:
    """Find the point whose integers have so much order-0 entropy.

    Args:
        prepared: The measured model.
        bits_per_weight: Over all quantized weights; above 0, at most 8.
        progress: Told how far the search is.

    Returns:
        The point, within 1 % of the bits or as near as its steps allow.

    Raises:
        OptionError: ``bits_per_weight`` is out of its range, leaves nothing, or leaves a layer
            too little.
        ConstantAnswerError: With so few bits the model answers the same to every sample.
    """
    if not 0 < bits_per_weight <= 8:
        raise OptionError(
            f"must be above 0 and at most 8, got {bits_per_weight:g}.", where="--bits-per-weight"
        )
    weights = sum(part.weights.size for part in prepared.parts)
    wanted, wide = bits_per_weight, 1e6
    rate = TYPICAL / weights * 1e-2
    for _ in range(_MOST_FITS):
        rate = _rate_of(prepared, wanted * weights, (rate / wide, rate * wide), progress)
        point = prepared.quantize(rate, progress)
        share = point.bits / weights / bits_per_weight
        if abs(share - 1) < _NEAR:
            break
        if not share:
            raise OptionError(
                f"{bits_per_weight:g} bits a weight leave no weight but zeros.",
                where="--bits-per-weight",
                hint="Give more bits; where that changes nothing, the model's weights are zeros.",
            )
        wanted, wide = wanted / share, 8.0
    prepared.refuse_constant(point)
    if share > _MOST_OVER:
        raise OptionError(
            f"{bits_per_weight:g} bits a weight take most of some layer's output, which the model "
            f"needs: the nearest point has {share * bits_per_weight:.2g}.",
            where="--bits-per-weight",
            hint="Give so many bits, or more.",
        )
    return point


def _rate_of(
    prepared: Prepared, bits: float, bracket: tuple[float, float], progress: Progress
) -> float:
    """Return the rate that gives so many bits before the last layers are fitted anew."""
    plain = replace(prepared, again=None, checks=None)
    low, high = bracket
    for i in range(_MOST_HALVINGS):
        rate = math.sqrt(low * high)
        found = plain.quantize(rate).bits
        progress("searching the rate", i + 1, _MOST_HALVINGS)
        if abs(found / bits - 1) < _NEAR / 2:
            return rate
        if found > bits:
            low = rate
        else:
            high = rate
    return low  # the finer side: on the coarser one there may be nothing left
