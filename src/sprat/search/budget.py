"""The accuracy budget: when a candidate holds it, and which of those that do is chosen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from sprat.evaluate.types import Evaluation
from sprat.record.schema import CandidateRecord

Goal = Literal["small", "fast"]

#: ``fast`` may cost this many times the smallest bytes.
FAST_BYTES = 1.7
#: Time ratios this close are one speed: timings are noisy, the choice must not be.
SAME_SPEED = 1.2
#: Standard errors added to the measured drop before it is held against the budget: the smallest
#: of many candidates is partly the luckiest, and luck does not carry over to new samples.
CAUTION = 0.5
_Z95 = 1.96


def standard_error(evaluation: Evaluation) -> float:
    """Return the standard error of the paired drop, in points."""
    return (evaluation.interval.high - evaluation.interval.low) / (2 * _Z95)


def cautious_drop(evaluation: Evaluation) -> float:
    """Return the drop in points plus half a standard error of the paired difference."""
    return evaluation.drop + CAUTION * standard_error(evaluation)


def holds(evaluation: Evaluation, max_drop: float) -> bool:
    """Say whether a candidate holds the budget, with some caution against luck.

    A candidate that answers every sample as the original does always holds it.

    Args:
        evaluation: On the choice split.
        max_drop: The budget in points.
    """
    return costs_nothing(evaluation) or cautious_drop(evaluation) <= max_drop


def costs_nothing(evaluation: Evaluation) -> bool:
    """Say whether every answer is the original's, so that there is no luck to be cautious about.

    A user's own metric may see a difference where the answers are the same; it has the last word.

    Args:
        evaluation: On the choice split.
    """
    return evaluation.agreement == 1.0 and evaluation.drop <= 0.0


def choose(
    candidates: Iterable[CandidateRecord], goal: Goal, original_bytes: int
) -> tuple[CandidateRecord | None, str]:
    """Choose among the candidates within the budget.

    Args:
        candidates: Measured candidates; those of another outcome are passed over.
        goal: ``small``: fewest br-11 bytes. ``fast``: least native time among those within
            1.7 times the fewest bytes; times within a factor of 1.2 count as one speed, and the
            smaller file wins.
        original_bytes: br-11 bytes of the original; a choice must be smaller.

    Returns:
        The choice and the reason, or None and why there is none.
    """
    fit = [c for c in candidates if c.outcome == "within budget" and _bytes(c) < original_bytes]
    if not fit:
        return None, "Nothing smaller than the original holds the budget."
    smallest = min(fit, key=lambda c: (_bytes(c), c.name))
    if goal == "small":
        return smallest, f"Fewest br-11 bytes of {len(fit)} candidates within the budget."
    near = [c for c in fit if _bytes(c) <= FAST_BYTES * _bytes(smallest)]
    return _fastest(near), (
        f"Least native time of the {len(near)} candidates within the budget and "
        f"{FAST_BYTES} times the fewest bytes ({smallest.name})."
    )


def _fastest(near: Sequence[CandidateRecord]) -> CandidateRecord:
    best = min(_ratio(c) for c in near)
    return min(
        (c for c in near if _ratio(c) <= SAME_SPEED * best), key=lambda c: (_bytes(c), c.name)
    )


def _bytes(candidate: CandidateRecord) -> int:
    return candidate.wire.brotli if candidate.wire is not None else 1 << 62


def _ratio(candidate: CandidateRecord) -> float:
    return candidate.speed.ratio if candidate.speed is not None else 1.0
