"""Whether figures came out again: the same result file of two runs, figure by figure.

Bytes and answers hardly move on the same versions; times move with the machine, which is why ratios
are told, and even those differ between processors. A figure that moves by more than its tolerance
is named: then either the page or the code is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Tolerance:
    """How far a figure may move.

    Attributes:
        amount: In the figure's own unit, or as a share of it.
        relative: Whether it is a share.
    """

    amount: float
    relative: bool = True

    def holds(self, before: float, now: float) -> bool:
        """Whether ``now`` is as good as ``before``."""
        room = self.amount * abs(before) if self.relative else self.amount
        return abs(now - before) <= room

    def __str__(self) -> str:
        return f"{self.amount:.0%}" if self.relative else f"{self.amount:g}"


#: By the figure's name in a result file; names that are not here are no figures of a page.
TOLERANCES = {
    "raw": Tolerance(0.05),
    "brotli": Tolerance(0.05),
    "drop": Tolerance(0.5, relative=False),
    "agreement": Tolerance(0.01, relative=False),
    "flips": Tolerance(0, relative=False),
    "ratio": Tolerance(0.25),
    "seconds": Tolerance(0.25),
}
#: What led to a figure, and is told by no page.
_WAY = ("curve",)


def moved(before: Any, now: Any, place: str = "") -> Iterator[str]:
    """Compare two contents of a result file.

    Args:
        before: What ``json.loads`` gave for the file that the pages tell of.
        now: The same of a new run.
        place: Where in the file that is.

    Yields:
        A line for each figure that is missing, or moved by more than its tolerance.
    """
    if isinstance(before, dict):
        for key, value in before.items():
            if key in _WAY:
                continue
            here = f"{place}.{key}" if place else key
            yield from _entry(key, value, now.get(key) if isinstance(now, dict) else None, here)
    elif isinstance(before, list):
        for i, value in enumerate(before):
            other = now[i] if isinstance(now, list) and i < len(now) else None
            yield from moved(value, other, f"{place}[{_name(value) or i}]")


def _entry(key: str, before: Any, now: Any, place: str) -> Iterator[str]:
    tolerance = TOLERANCES.get(key)
    if tolerance is None or not _is_number(before):
        yield from moved(before, now, place)
    elif not _is_number(now):
        yield f"{place} was {before:g} and is missing"
    elif not tolerance.holds(before, now):
        yield f"{place} was {before:g} and is {now:g} (tolerance {tolerance})"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _name(value: Any) -> str:
    if not isinstance(value, dict):
        return ""
    return ", ".join(str(value[k]) for k in ("name", "subject", "mbps") if k in value)
