"""How each operator becomes steps: one file for each family."""

from sprat.lean.operators import (
    convolution,
    elementwise,
    gathering,
    moving,
    normalizing,
    padding,
    pooling,
    products,
    reducing,
    resizing,
)
from sprat.lean.operators.registry import OPERATORS

__all__ = [
    "OPERATORS",
    "convolution",
    "elementwise",
    "gathering",
    "moving",
    "normalizing",
    "padding",
    "pooling",
    "products",
    "reducing",
    "resizing",
]
