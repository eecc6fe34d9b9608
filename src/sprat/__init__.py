"""Sprat: the smallest ONNX model that still does its job, with proof."""

__version__ = "0.1.0"
