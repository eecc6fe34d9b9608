"""The same layers rounded to nearest, in as many bits: what every point is held against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sprat.parallel import ordered_map
from sprat.quantization.rate_distortion.biases import shorten
from sprat.quantization.rate_distortion.part import Part, Rounded
from sprat.quantization.rate_distortion.rounding import LIMIT, Array, entropy_bits, nearest
from sprat.quantization.rate_distortion.steps import (
    SCALE_BITS,
    largest_of,
    shared_variance,
)

#: What the steps are proportional to. ``allocated``: one a layer, by its sensitivity and moments.
#: ``layer``: one a layer, the weights' rms. ``channel``: one a channel, its rms.
Plain = Literal["allocated", "layer", "channel"]
PLAIN: tuple[Plain, ...] = ("allocated", "layer", "channel")
_HALVINGS = 24
_NEAR = 0.005
_TINY = 1e-30


def to_nearest(parts: Sequence[Part], bits: float, plain: Plain) -> list[Rounded]:
    """Round layers to nearest, with the finest steps that cost no more than so many bits.

    Args:
        parts: The layers.
        bits: Entropy of all the integers, and what the steps cost.
        plain: How the steps are shared out.

    Returns:
        Integers and steps of each layer; where no step is coarse enough, the coarsest tried.
    """
    bases = [_base(part, plain) for part in parts]
    low, high = np.log(1e-6), np.log(1e6)
    found: list[Rounded] = []
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        factor = float(np.exp(middle))

        def one(number: int, factor: float = factor) -> Rounded:
            return _rounded(parts[number], factor * bases[number])

        rounded = list(ordered_map(one, range(len(parts))))
        cost = _cost(rounded)
        if cost > bits:
            low = middle
            continue
        high, found = middle, rounded
        if cost > (1 - _NEAR) * bits:
            break
    return found or rounded


def _cost(rounded: Sequence[Rounded]) -> float:
    return sum(entropy_bits(values) + SCALE_BITS * steps.size for values, steps in rounded)


def _base(part: Part, plain: Plain) -> NDArray[np.float64]:
    """Return what a layer's step or steps are proportional to: ``[]`` or ``[channels]``."""
    if plain == "allocated":
        return np.asarray(np.sqrt(shared_variance(part.factors) / part.sensitivity))
    rows = part.weights.reshape(-1, part.weights.shape[-1])
    return np.asarray(np.sqrt(np.mean(rows**2, axis=1 if plain == "channel" else None)))


def _rounded(part: Part, wanted: Array) -> Rounded:
    rows = part.weights.reshape(-1, part.weights.shape[-1])
    largest = largest_of(rows) if wanted.ndim else largest_of(rows).max()
    steps = shorten(np.maximum(np.maximum(wanted, largest / LIMIT), _TINY), rounding="up")
    each = np.broadcast_to(steps, len(rows)).astype(np.float64)
    return nearest(rows, each).reshape(part.weights.shape), steps
