"""The distance between levels: one for a layer, or one for each output channel.

At a high rate a step ``s`` in a column whose conditional variance is ``u²`` (the squared diagonal
of the inverse factor) costs ``s² / (12 u²)`` at the layer's output and saves ``log2 s`` bits. The
groups of a convolution see different inputs, and their ``u²`` may lie decades apart: a group whose
input is (nearly) never active has a huge one. A common step is therefore set by the mean *error* of
the groups, the harmonic mean of their ``u²``, which no idle group can dominate; separate steps are
reverse water-filling (Cover and Thomas 2006, section 10.3.3): the same error in every channel.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sprat.quantization.rate_distortion.biases import shorten
from sprat.quantization.rate_distortion.rounding import LIMIT, Array, row_errors

#: ``layer``: one step for all. Else one for each output channel: ``rms``: proportional to the
#: channel's rms. ``error``: equal errors at the channels' outputs. ``energy``: errors proportional
#: to the energies of the channels' outputs. ``between``: to the square roots of these.
Spacing = Literal["layer", "rms", "error", "between", "energy"]

#: What is tried for layers of several groups, whose inputs may lie decades apart.
BY_GROUP: tuple[Spacing, ...] = ("error", "between", "energy")
#: What a step costs on the wire.
SCALE_BITS = 16
_POWERS = {"error": 0.0, "between": 0.5, "energy": 1.0}
_TINY = 1e-30


def steps_of(
    weights: Array,
    factors: NDArray[np.float32],
    price: float,
    coarseness: float,
    spacing: Spacing = "layer",
) -> NDArray[np.float32]:
    """Return the distance between levels: float32 ``[]``, or ``[groups * outputs]``.

    Where a few large weights keep a layer's one step from being as fine as it should be, since
    integers have 8 bits, each channel gets its own.

    Args:
        weights: float64 ``[groups, outputs, columns]``.
        factors: Inverse factors, float32 ``[groups, columns, columns]``.
        price: What a bit is worth, in the layer's output error.
        coarseness: Squared step over price times variance.
        spacing: Which channels share a step.
    """
    rows = weights.reshape(-1, weights.shape[-1])
    largest_each = largest_of(rows)
    largest = float(largest_each.max())
    wanted = math.sqrt(coarseness * price * shared_variance(factors))
    if spacing == "layer" and wanted >= largest / LIMIT:
        return shorten(np.asarray(min(wanted, 2 * largest)), rounding="up")
    if spacing in _POWERS:
        shares = _energies(weights, factors) ** _POWERS[spacing]
        shares /= max(float(shares.mean()), _TINY)
        variances = np.repeat(_variances(factors), weights.shape[1])
        each = np.sqrt(coarseness * price * variances * shares)
    else:
        rms = np.sqrt(np.mean(rows**2, axis=1))
        # The mean square of the steps stays, so that the layer's error stays about the same.
        each = wanted * (rms / max(float(np.sqrt(np.mean(rms**2))), _TINY))
    return shorten(np.clip(each, largest_each / LIMIT, 2 * largest_each), rounding="up")


def largest_of(rows: Array) -> Array:
    """Return the largest absolute value of each row, above zero: ``[rows]``."""
    return np.asarray(np.maximum(np.abs(rows).max(axis=1), _TINY))


def shared_variance(factors: NDArray[np.float32]) -> float:
    """Return the variance that a step for all groups is set by: the harmonic mean of theirs."""
    variances = _variances(factors)
    # Of a single group its own, to the last bit.
    return float(variances[0]) if len(variances) == 1 else float(1 / np.mean(1 / variances))


def _variances(factors: NDArray[np.float32]) -> Array:
    """Return the mean conditional variance of each group's columns, ``[groups]``."""
    diagonal = np.einsum("gii->gi", factors).astype(np.float64)
    return np.asarray(np.mean(diagonal**2, axis=1))


def _energies(weights: Array, factors: NDArray[np.float32]) -> Array:
    """Return the energy of each output channel, by the damped second moment."""
    pairs = zip(weights, factors, strict=True)
    return np.concatenate([row_errors(rows, factor) for rows, factor in pairs])
