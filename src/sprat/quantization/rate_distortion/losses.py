"""How much of a layer's output rounding takes, and what the model would be without the layer."""

from __future__ import annotations

import numpy as np

from sprat.quantization.rate_distortion.look import Look
from sprat.quantization.rate_distortion.part import Part, Rounded, initializers, multiplied
from sprat.quantization.rate_distortion.rounding import row_errors

#: A layer loses no more than this share of its output's energy ...
MOST_LOST = 0.5
_TINY = 1e-30


def lost(part: Part, rounded: Rounded) -> float:
    """Return the share of a layer's output energy that is error: 1 where all weights are zero.

    The energy is that of all output channels together, by the damped second moment; about the mean
    where the layer has a bias, which makes good what happens to the mean.

    Args:
        part: The layer.
        rounded: Its integers and steps.
    """
    gap = part.weights - multiplied(*rounded)
    error = energy = 0.0
    for rows, left, mean, factor in zip(part.weights, gap, part.mean, part.factors, strict=True):
        error += float(row_errors(left, factor).sum())
        energy += float(row_errors(rows, factor).sum())
        if part.bias is not None:
            error -= float(((left @ mean) ** 2).sum())
            energy -= float(((rows @ mean) ** 2).sum())
    return max(error, 0.0) / max(energy, _TINY)


def without(look: Look, part: Part) -> float:
    """Return a model's divergence without one layer: weights zero, the mean output kept."""
    nothing = np.zeros(part.weights.shape, np.int8), np.ones((), np.float32)
    return look.at(initializers(part, nothing))
