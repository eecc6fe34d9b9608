"""Where in the one memory each storage lies: side by side only while both are needed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sprat.lean.values import Storage

#: Floats; XNNPACK's loads are of four.
_ALIGNMENT = 4


@dataclass
class Lifetime:
    """From the step that first touches a storage to the last that does.

    Attributes:
        storage: The storage.
        first: Index of the first step; -1 for an input.
        last: Index of the last step; the number of steps for an output.
    """

    storage: Storage
    first: int
    last: int


def place(lifetimes: Iterable[Lifetime]) -> int:
    """Give every storage its place: the largest first, each at the lowest place that is free.

    Args:
        lifetimes: Of all storages that are not resident.

    Returns:
        Floats that the activations take.
    """
    placed: list[Lifetime] = []
    total = 0
    for one in sorted(lifetimes, key=lambda t: (-t.storage.size, t.first, t.last)):
        size, at = aligned(one.storage.size), 0
        meeting = [p for p in placed if p.first <= one.last and one.first <= p.last]
        for other in sorted(meeting, key=lambda p: p.storage.at):
            if at + size <= other.storage.at:
                break
            at = max(at, other.storage.at + aligned(other.storage.size))
        one.storage.at = at
        placed.append(one)
        total = max(total, at + size)
    return total


def aligned(size: int) -> int:
    """Return a size in floats, rounded up to the alignment."""
    return -(-size // _ALIGNMENT) * _ALIGNMENT
