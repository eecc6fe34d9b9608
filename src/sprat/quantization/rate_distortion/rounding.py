"""Rounding with error feedback and a rate term.

The inner loop is compiled by numba; all output channels are independent, so they run in blocks of
rows side by side, and a row's arithmetic never depends on how many threads there are.
"""

from __future__ import annotations

from contextlib import nullcontext
from threading import Lock

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Integers lie in -LIMIT..LIMIT, so that they fit int8.
LIMIT = 127
#: Columns whose errors are passed on one by one; later columns get them in one product.
BLOCK = 64
#: Factors of so many columns are made one at a time: each takes hundreds of megabytes while it is.
_WIDE = 2048
_ONE_WIDE = Lock()
_COLUMNS = 512
#: A symbol that the histogram has not seen costs as much as one seen so many times.
_UNSEEN = 0.05


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _round_block(
    weights: Array,
    block: Array,
    first: int,
    steps: Array,
    price: Array,
    bits: Array,
    integers: NDArray[np.int8],
    errors: Array,
) -> None:
    limit = bits.shape[0] // 2
    last = first + block.shape[0]
    for o in range(weights.shape[0]):
        step = steps[o]
        for i in range(first, last):
            scale = block[i - first, i - first]
            value = weights[o, i]
            low = int(np.floor(value / step))
            best_cost = np.inf
            best = 0
            for choice in range(3):
                q = low if choice == 0 else (low + 1 if choice == 1 else 0)
                if q < -limit or q > limit:
                    continue
                error = (value - q * step) / scale
                cost = error * error + price[o] * bits[q + limit]
                if cost < best_cost:
                    best_cost = cost
                    best = q
            integers[o, i] = best
            error = (value - best * step) / scale
            errors[o, i - first] = error
            for j in range(i + 1, last):
                weights[o, j] -= error * block[i - first, j - first]


def inverse_factor(moment: NDArray[np.float32], damping: float) -> NDArray[np.float32]:
    """Return the upper Cholesky factor ``U`` of the inverse of the damped second moment.

    ``H + damping * mean(diag H) * I = (U^T U)^-1``; row ``i`` of ``U`` tells how an error in
    column ``i`` is made good by the columns behind it (OPTQ, Frantar et al. 2022, section 3.3).

    Args:
        moment: ``[K, K]`` second moment.
        damping: Share of the mean diagonal.

    Returns:
        ``[K, K]`` float32; a multiple of the identity, which feeds no error back, where the
        moment cannot be inverted.
    """
    with _ONE_WIDE if len(moment) >= _WIDE else nullcontext():
        return _inverse_factor(moment, damping)


def _inverse_factor(moment: NDArray[np.float32], damping: float) -> NDArray[np.float32]:
    from scipy.linalg.lapack import dpotrf, dpotri

    size = len(moment)
    mean = max(float(np.mean(np.diag(moment))), 1e-12)
    damped = np.array(moment, dtype=np.float64, order="F")
    damped[np.diag_indices(size)] += damping * mean
    lower, failed = dpotrf(damped, lower=1, clean=1, overwrite_a=1)
    if not failed:
        inverse, failed = dpotri(lower, lower=1, overwrite_c=1)
    if not failed:
        # (U^T U) = H^-1 with U = L^T: the lower factor of the inverse, transposed.
        lower, failed = dpotrf(inverse, lower=1, clean=1, overwrite_a=1)
    if failed:
        return np.asarray(np.eye(size) / np.sqrt(mean), dtype=np.float32)
    return np.ascontiguousarray(lower.T, dtype=np.float32)


def nearest(weights: Array, steps: Array) -> NDArray[np.int8]:
    """Round to the nearest multiple of each row's step.

    Args:
        weights: ``[O, K]``.
        steps: ``[O]``.

    Returns:
        int8 ``[O, K]``.
    """
    return np.clip(np.rint(weights / steps[:, None]), -LIMIT, LIMIT).astype(np.int8)


def round_rows(
    weights: Array, factor: NDArray[np.float32], steps: Array, price: Array, bits: Array
) -> NDArray[np.int8]:
    """Round rows with error feedback; each value by squared error plus price times bits.

    Args:
        weights: ``[O, K]``.
        factor: From :func:`inverse_factor`.
        steps: ``[O]`` the distance between levels.
        price: ``[O]`` distortion that one bit is worth (lambda), in the layer's output error.
        bits: ``[2 LIMIT + 1]`` cost of each integer.

    Returns:
        int8 ``[O, K]``.
    """
    count, columns = weights.shape
    left = weights.copy()
    integers = np.zeros((count, columns), np.int8)
    errors = np.zeros((count, BLOCK))
    for first in range(0, columns, BLOCK):
        last = min(columns, first + BLOCK)
        rows = factor[first:last].astype(np.float64)  # a wide factor in float64 takes 0.2 GB
        block = np.ascontiguousarray(rows[:, first:last])
        _round_block(left, block, first, steps, price, bits, integers, errors)
        if last < columns:
            left[:, last:] -= errors[:, : last - first] @ rows[:, last:]
    return integers


def round_best(
    weights: Array, factor: NDArray[np.float32], steps: Array, price: Array, bits: Array
) -> NDArray[np.int8]:
    """Round rows with error feedback, but keep a row's nearest rounding where that costs less.

    Error feedback is greedy: with few columns or coarse steps it can lose to plain rounding. The
    result is never worse in squared error at the layer's output plus price times bits.

    Args:
        weights: ``[O, K]``.
        factor: From :func:`inverse_factor`.
        steps: ``[O]``.
        price: ``[O]``.
        bits: ``[2 LIMIT + 1]``.

    Returns:
        int8 ``[O, K]``.
    """
    fed = round_rows(weights, factor, steps, price, bits)
    plain = nearest(weights, steps)
    costs = [
        row_errors(weights - q * steps[:, None], factor)
        + price * bits[q.astype(np.int64) + LIMIT].sum(axis=1)
        for q in (fed, plain)
    ]
    return np.where((costs[0] <= costs[1])[:, None], fed, plain)


def row_errors(difference: Array, factor: NDArray[np.float32]) -> Array:
    """Return each row's squared error at the layer's output, by the damped second moment.

    With ``H = (U^T U)^-1`` the error ``e H e^T`` is ``|e U^-1|^2``; solved block by block, since a
    wide factor in float64 takes 0.2 GB.

    Args:
        difference: ``[O, K]`` error of the weights.
        factor: From :func:`inverse_factor`.

    Returns:
        ``[O]``.
    """
    from scipy.linalg import solve_triangular

    left = difference.T.copy()
    for first in range(0, len(factor), _COLUMNS):
        last = first + _COLUMNS
        rows = factor[first:last, first:].astype(np.float64)
        corner = rows[:, :_COLUMNS]
        left[first:last] = solve_triangular(corner, left[first:last], trans="T", check_finite=False)
        left[last:] -= rows[:, _COLUMNS:].T @ left[first:last]
    return np.asarray(np.sum(left**2, axis=0), dtype=np.float64)


def bit_costs(integers: NDArray[np.int8]) -> Array:
    """Return what each integer costs by the histogram of some integers, in bits.

    Args:
        integers: Any shape.

    Returns:
        ``[2 LIMIT + 1]``; the integer ``q`` at index ``q + LIMIT``.
    """
    index = integers.astype(np.int64).ravel() + LIMIT
    counts = np.bincount(index, minlength=2 * LIMIT + 1).astype(np.float64)
    counts = np.maximum(counts, _UNSEEN)
    return np.asarray(-np.log2(counts / counts.sum()))


def entropy_bits(integers: NDArray[np.int8]) -> float:
    """Return the order-0 entropy of all the integers together, in bits."""
    counts = np.bincount(integers.astype(np.int64).ravel() + LIMIT)
    shares = counts[counts > 0] / integers.size
    return float(-(shares * np.log2(shares)).sum() * integers.size)


def output_error(difference: Array, moment: Array) -> float:
    """Return the mean squared error at a layer's output, ``tr(E H E^T)``.

    Args:
        difference: ``[O, K]`` error of the weights.
        moment: ``[K, K]``.
    """
    error = 0.0
    for first in range(0, len(moment), _COLUMNS):  # a wide moment in float64 takes 0.2 GB
        some = slice(first, first + _COLUMNS)
        error += float(
            np.sum((difference @ moment[:, some].astype(np.float64)) * difference[:, some])
        )
    return error
