"""The trade between bytes and accuracy: what nothing else beats in both."""

from __future__ import annotations

from collections.abc import Iterable

#: Number of a trial, its bytes, its score.
Scored = tuple[int, int, float]


def pareto(trials: Iterable[Scored]) -> tuple[int, ...]:
    """Return the numbers of the trials that no other beats or equals in both, smallest first.

    Of trials that are alike in both, the first one stands for all.

    Args:
        trials: Number, bytes (fewer is better), score (more is better).
    """
    front: list[int] = []
    highest = float("-inf")
    for number, _, score in sorted(trials, key=lambda t: (t[1], -t[2], t[0])):
        if score > highest:
            front.append(number)
            highest = score
    return tuple(front)
