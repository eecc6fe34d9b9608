"""Samples from anywhere, as arrays that a model can eat."""
