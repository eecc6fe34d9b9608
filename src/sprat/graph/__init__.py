"""Cleaning passes: what a graph does not need goes, and the answers stay.

Each pass is a function from a model to a model, and each is checked before it is kept. Weights
keep their values: changing those is the business of ``quantization``.
"""
