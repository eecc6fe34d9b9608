"""Every trial of a study accounted for: a trial and its repetitions after kills are one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

State = Literal["waiting", "running", "complete", "pruned", "failed"]

#: Why a trial ended without a result; one without it was killed.
REASON = "reason"
#: Begun by several workers at once when only one was left to do: never run.
SURPLUS = "surplus"
#: Set by optuna on a repetition: the number of the first attempt.
_FIRST = "failed_trial"
_STATES: dict[str, State] = {
    "WAITING": "waiting",
    "RUNNING": "running",
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
}


class Named(Protocol):
    """What has a name: a member of an enumeration."""

    @property
    def name(self) -> str:
        """The name."""


class Numbered(Protocol):
    """A trial, under way or ended."""

    @property
    def number(self) -> int:
        """From 0, in the order of asking."""

    @property
    def system_attrs(self) -> dict[str, Any]:
        """What optuna says of it."""


class Attempt(Numbered, Protocol):
    """What optuna keeps of a trial."""

    @property
    def state(self) -> Named:
        """How far it is."""

    @property
    def user_attrs(self) -> dict[str, Any]:
        """What the trial says of itself."""


@dataclass(frozen=True)
class Line:
    """A trial with its repetitions.

    Attributes:
        first: Number of the first attempt, by which the trial is called.
        attempts: How many there were.
        state: Of the last attempt.
        said: What the last attempt said of itself.
    """

    first: int
    attempts: int
    state: State
    said: dict[str, Any]


@dataclass(frozen=True)
class Tally:
    """All trials of a study.

    Attributes:
        lines: In the order of their first attempts.
        wanted: How many are asked for.
    """

    lines: tuple[Line, ...]
    wanted: int

    def count(self, *states: State) -> int:
        """Return how many trials are in some states."""
        return sum(line.state in states for line in self.lines)

    @property
    def has_work(self) -> bool:
        """Whether a trial can be begun now."""
        return self.count("waiting") > 0 or len(self.lines) < self.wanted

    @property
    def is_done(self) -> bool:
        """Whether all trials have come to an end."""
        return not self.has_work and not self.count("running")


def is_first(attempt: Attempt) -> bool:
    """Say whether an attempt is no repetition, and not one too many."""
    return _FIRST not in attempt.system_attrs and SURPLUS not in attempt.user_attrs


def first_number(attempt: Numbered) -> int:
    """Return the number of a trial's first attempt."""
    number: int = attempt.system_attrs.get(_FIRST, attempt.number)
    return number


def tally(attempts: Iterable[Attempt], wanted: int) -> Tally:
    """Join attempts to trials.

    Args:
        attempts: All of a study.
        wanted: How many trials are asked for.
    """
    groups: dict[int, list[Attempt]] = {}
    for attempt in sorted(attempts, key=lambda a: a.number):
        if SURPLUS not in attempt.user_attrs:
            groups.setdefault(first_number(attempt), []).append(attempt)
    lines = (
        Line(first, len(group), _STATES[group[-1].state.name], dict(group[-1].user_attrs))
        for first, group in sorted(groups.items())
    )
    return Tally(tuple(lines), wanted)
