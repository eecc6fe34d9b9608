"""How long work tells how far it is, without knowing who listens.

Nothing below the command line prints. A function that may take more than two seconds takes a
:class:`Progress` and calls it; the command line passes one that draws a bar.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol


class Progress(Protocol):
    """Listener of long work."""

    def __call__(self, stage: str, done: float, total: float) -> None:
        """Hear that ``done`` of ``total`` units of ``stage`` (a short phrase) are finished."""


def silent(stage: str, done: float, total: float) -> None:
    """Listen to nothing: the default of every function that takes a :class:`Progress`."""


class TimeIsUp(BaseException):
    """The step under way is given up; not an ``Exception``, so that nothing takes it for a fault.

    Raised by :class:`Watch`, and caught by the search that set the limit.
    """


@dataclass
class Watch:
    """A listener that can end the work it listens to: long steps are cut where they report.

    Attributes:
        progress: Told what this is told.
        expired: Says whether time is up; None while there is no limit.
    """

    progress: Progress
    expired: Callable[[], bool] | None = None

    def __call__(self, stage: str, done: float, total: float) -> None:
        """Hear that ``done`` of ``total`` units of ``stage`` are finished.

        Raises:
            TimeIsUp: The limit has passed.
        """
        self.progress(stage, done, total)
        if self.expired is not None and self.expired():
            raise TimeIsUp

    @contextmanager
    def until(self, expired: Callable[[], bool]) -> Iterator[None]:
        """Set a limit while inside; when it passes, what is inside ends quietly."""
        before, self.expired = self.expired, expired
        try:
            yield
        except TimeIsUp:
            return
        finally:
            self.expired = before
