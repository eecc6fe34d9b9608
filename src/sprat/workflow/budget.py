"""What a search is asked for, and the time that it takes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sprat.data.options import DataOptions
from sprat.distillation.configs import Recipe, Student
from sprat.distillation.extra import require
from sprat.errors import OptionError
from sprat.search.budget import Goal

#: How a student is taught where nothing else is said: its minutes come on top of the search's.
USUAL_RECIPE = Recipe(minutes=30.0)

#: What the report takes of the time budget, and how much the last look may hold back of it.
_REPORT_SHARE = 0.05
_MOST_HELD = 0.5


@dataclass
class Clock:
    """Seconds by stage, and the time budget.

    Attributes:
        minutes: The time budget.
        stop: Says whether the user asked for an end.
        last_look: Seconds that are kept for what comes after the search.
        stages: Seconds by stage.
        started: When, by the performance counter.
    """

    minutes: float
    stop: Callable[[], bool]
    last_look: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.stages[name] = round(self.stages.get(name, 0.0) + spent, 2)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Leave the time spent inside out of the budget: it has one of its own."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.started += time.perf_counter() - start

    def expired(self, share: float = 1.0) -> bool:
        """Say whether so much of the search's time is spent, or the user asked for an end."""
        whole = self.minutes * 60
        search = whole * (1 - _REPORT_SHARE) - min(self.last_look, _MOST_HELD * whole)
        spent = time.perf_counter() - self.started
        return self.stop() or spent > search * share


@dataclass(frozen=True)
class Budget:
    """What the search is asked for.

    Attributes:
        goal: ``small``: fewest br-11 bytes. ``fast``: least time within 1.7 times those.
        max_drop: Points that accuracy may fall.
        minutes: Time for the whole; the best point so far wins when it is over.
        preview: Also write the best model under so many br-11 bytes.
    """

    goal: Goal = "small"
    max_drop: float = 1.0
    minutes: float = 5.0
    preview: int | None = None

    def check(self) -> None:
        """Refuse values that make no sense.

        Raises:
            OptionError: A value is out of its range.
        """
        if not 0 <= self.max_drop <= 100:
            raise OptionError(
                f"must be 0 to 100 points, got {self.max_drop:g}.", where="--max-drop"
            )
        if not 0 < self.minutes < math.inf:
            raise OptionError(
                f"must be a finite number above 0, got {self.minutes:g}.", where="--minutes"
            )
        if self.preview is not None and self.preview <= 0:
            raise OptionError(f"must be above 0 bytes, got {self.preview}.", where="--preview")


@dataclass(frozen=True)
class Request:
    """All that decides what ``optimize`` finds.

    Attributes:
        model: The model to make small.
        data: Folder, CSV, npz or ``package.module:function``.
        budget: Goal, accuracy budget and time.
        reference: The model in whose place ``model`` shall stand; None where that is itself.
        student: The network that is taught and competes; None without.
        recipe: How it is taught.
        options: Preprocessing and output options.
        seed: Of every choice that needs one.
        limit: Samples of each split at most.
        only_outputs: Drop the outputs that are not selected.
    """

    model: Path
    data: str | Path
    budget: Budget = Budget()
    reference: Path | None = None
    student: Student | None = None
    recipe: Recipe = USUAL_RECIPE
    options: DataOptions | None = None
    seed: int = 0
    limit: int | None = None
    only_outputs: bool = False

    @property
    def original(self) -> Path:
        """The model that the page has today: what all else is held against."""
        return self.model if self.reference is None else self.reference

    def check(self) -> None:
        """Refuse values that make no sense, or not together.

        Raises:
            OptionError: One is out of its range, or two contradict each other.
            PackageMissingError: A student is wanted, and torch is not installed.
        """
        self.budget.check()
        if self.student is None:
            return
        if self.reference is not None:
            raise OptionError(
                "cannot go with --student: a student is taught by the model itself.",
                where="--reference",
                hint="Give the teacher as the model, or a student that is taught already.",
            )
        self.student.check()
        self.recipe.check()
        require()
