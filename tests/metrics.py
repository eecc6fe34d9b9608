"""Metrics of the user's own, as source: tests make a module of it."""

#: ``same``: nothing but the original's very bits is right.
EXACT = """
import numpy as np

first = {}

def same(outputs, labels):
    values = outputs["output"]
    known = first.setdefault(len(values), values)
    return np.full(len(values), float(np.array_equal(known, values)))
"""
