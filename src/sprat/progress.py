"""How long work tells how far it is, without knowing who listens.

Nothing below the command line prints. A function that may take more than two seconds takes a
:class:`Progress` and calls it; the command line passes one that draws a bar.
"""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Listener of long work."""

    def __call__(self, stage: str, done: float, total: float) -> None:
        """Hear that ``done`` of ``total`` units of ``stage`` (a short phrase) are finished."""


def silent(stage: str, done: float, total: float) -> None:
    """Listen to nothing: the default of every function that takes a :class:`Progress`."""
