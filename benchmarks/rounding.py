"""The inner loop of rounding with error feedback: compiled by numba, or vectorised in numpy.

Usage:
    python -m benchmarks.rounding

A layer of 512 output channels and 1,152 columns, rounded three times by each way, alternately in
one process and one thread; the integers are compared. Prints the least seconds of each.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.measure import machine
from sprat.quantization.rate_distortion.rounding import (
    LIMIT,
    Array,
    bit_costs,
    inverse_factor,
    nearest,
    round_rows,
)

ROWS, COLUMNS, VECTORS, REPEATS = 512, 1152, 8192, 3


def in_numpy(
    weights: Array, factor: NDArray[np.float32], steps: Array, price: Array, bits: Array
) -> NDArray[np.int8]:
    """Round all rows at once, column by column."""
    left = weights.copy()
    integers = np.zeros(weights.shape, np.int8)
    rows = np.arange(len(weights))
    for i in range(weights.shape[1]):
        low = np.floor(left[:, i] / steps)
        choices = np.clip(np.stack([low, low + 1, np.zeros_like(low)]), -LIMIT, LIMIT)
        errors = (left[:, i] - choices * steps) / factor[i, i]
        costs = errors**2 + price * bits[choices.astype(np.int64) + LIMIT]
        best = np.argmin(costs, axis=0)
        integers[:, i] = choices[best, rows]
        left[:, i + 1 :] -= errors[best, rows][:, None] * factor[i, i + 1 :]
    return integers


def main() -> None:
    random = np.random.default_rng(0)
    mixed = random.standard_normal((VECTORS, 256)) @ random.standard_normal((256, COLUMNS))
    inputs = np.maximum(mixed, 0).astype(np.float32)
    moment = (inputs.T @ inputs / VECTORS).astype(np.float32)
    factor = inverse_factor(moment, 0.01)
    weights = random.standard_normal((ROWS, COLUMNS)) * 0.05
    steps = np.full(ROWS, 0.1)
    price = np.full(ROWS, 0.1)
    bits = bit_costs(nearest(weights, steps))
    ways = {"numba": round_rows, "numpy": in_numpy}
    times: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, NDArray[np.int8]] = {}
    with threadpool_limits(1):
        round_rows(weights, factor, steps, price, bits)  # compiles
        for _ in range(REPEATS):
            for name, way in ways.items():
                start = time.perf_counter()
                found[name] = way(weights, factor, steps, price, bits)
                times[name].append(time.perf_counter() - start)
    same = float(np.mean(found["numba"] == found["numpy"]))
    print(f"{machine()}\n\n| way | seconds |\n|---|---:|")
    for name, seconds in times.items():
        print(f"| {name} | {min(seconds):.2f} |")
    print(f"\n{same:.2%} of the integers are the same.")


if __name__ == "__main__":
    main()
