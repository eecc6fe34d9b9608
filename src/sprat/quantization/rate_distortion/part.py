"""One layer, ready to be rounded, and what rounding makes of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sprat.quantization.rate_distortion.biases import shorten
from sprat.quantization.rate_distortion.layers import Layer
from sprat.quantization.rate_distortion.rounding import (
    Array,
    bit_costs,
    nearest,
    round_best,
    round_rows,
)
from sprat.quantization.rate_distortion.steps import Spacing, steps_of

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
        spacing: Which output channels share a step.
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
    spacing: Spacing = "layer"
    sensitivity: float = 1.0
    alone: float = 0.0


#: A layer's integers ``[groups, outputs, columns]``, and its step ``[]`` or steps ``[channels]``.
Rounded = tuple[NDArray[np.int8], NDArray[np.float32]]


def multiplied(rounded: NDArray[np.int8], steps: NDArray[np.float32]) -> Array:
    """Return integers ``[groups, outputs, columns]`` times their step or steps, float64."""
    rows = rounded.reshape(-1, rounded.shape[-1]).astype(np.float64)
    return (rows * steps.reshape(-1, 1).astype(np.float64)).reshape(rounded.shape)


def corrected(
    part: Part, rounded: NDArray[np.int8], steps: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """Return the bias that keeps a layer's mean output what it was, if it has one."""
    if part.bias is None:
        return {}
    gap = part.weights - multiplied(rounded, steps)
    shift = np.einsum("gok,gk->go", gap, part.mean).reshape(part.bias.shape)
    return {part.layer.bias: shorten(part.bias + shift, part.bias_bits)}


def initializers(part: Part, rounded: Rounded) -> dict[str, NDArray[np.float32]]:
    """Return a rounded layer's weight and bias by name, as the model stores them."""
    weight = part.layer.stored(multiplied(*rounded).astype(np.float32))
    return {part.layer.name: weight, **corrected(part, *rounded)}


def round_part(part: Part, price: float, coarseness: float) -> Rounded:
    """Round a layer; return integers ``[groups, outputs, columns]`` and its step or steps."""
    groups, outputs, _ = part.weights.shape
    steps = steps_of(part.weights, part.factors, price, coarseness, part.spacing)
    rows = np.broadcast_to(steps, groups * outputs).reshape(groups, outputs).astype(np.float64)
    prices = np.full(outputs, price)
    rounded = np.stack([nearest(w, s) for w, s in zip(part.weights, rows, strict=True)])
    for last in (False, True):
        method = round_best if last else round_rows
        bits = bit_costs(rounded)
        rounded = np.stack(
            [method(part.weights[g], part.factors[g], rows[g], prices, bits) for g in range(groups)]
        )
    return rounded, steps
