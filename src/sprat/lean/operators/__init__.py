"""How each operator becomes steps: one file for each family."""

from sprat.lean.operators import (
    convolution,
    elementwise,
    moving,
    normalizing,
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
    "moving",
    "normalizing",
    "pooling",
    "products",
    "reducing",
    "resizing",
]
