"""Rows of unlike shapes: what an array cannot hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class RaggedArray:
    """One array a sample, of one rank and type, and of shapes that may differ.

    Attributes:
        rows: The samples, without an axis for them.
    """

    rows: tuple[NDArray[Any], ...]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices: Sequence[int]) -> RaggedArray:
        """Return some of the rows, in the order given."""
        return RaggedArray(tuple(self.rows[i] for i in indices))

    def stacked(self, indices: Sequence[int]) -> NDArray[Any]:
        """Return some of the rows along a new first axis.

        Raises:
            ValueError: Their shapes differ.
        """
        return np.stack([self.rows[i] for i in indices])


#: Samples along axis 0.
Rows = NDArray[Any] | RaggedArray


def joined(arrays: Sequence[NDArray[Any]]) -> Rows:
    """Join arrays along their first axis; rows of unlike shapes stay for themselves."""
    if len({array.shape[1:] for array in arrays}) == 1:
        return np.concatenate(arrays)
    return RaggedArray(tuple(row for array in arrays for row in array))


def take(rows: Rows, indices: Sequence[int]) -> Rows:
    """Return some of the rows, in the order given."""
    return rows.take(indices) if isinstance(rows, RaggedArray) else rows[list(indices)]


def batch(rows: Rows, indices: Sequence[int]) -> NDArray[Any]:
    """Return some of the rows in one array.

    Raises:
        ValueError: Their shapes differ.
    """
    return rows.stacked(indices) if isinstance(rows, RaggedArray) else rows[list(indices)]
