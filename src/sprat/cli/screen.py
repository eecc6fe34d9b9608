"""What the command line shows: tables, progress bars, JSON, errors."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from sprat.errors import SpratError

#: Columns where the output is no terminal, such as a file or CI's log.
_WIDE = None if sys.stdout.isatty() else 150

out = Console(highlight=False, width=_WIDE)
err = Console(stderr=True, highlight=False)


class Interrupted(BaseException):
    """Ctrl-C; not an ``Exception``, so that nothing below takes it for an error."""


def interrupt(_number: int, _frame: Any) -> None:
    """Handle SIGINT."""
    raise Interrupted


class Bar:
    """Draws a bar on standard error for each stage of long work, where that is a terminal."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: float, total: float) -> None:
        """Hear that ``done`` of ``total`` units of ``stage`` are finished."""
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total)
        task = self._tasks[stage]
        self._progress.update(task, completed=done, total=total)
        if done >= total:
            self._progress.remove_task(self._tasks.pop(stage))


@contextmanager
def bar(quiet: bool = False) -> Iterator[Bar]:
    """Show progress while inside; nothing remains on the screen afterwards."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=quiet) as progress:
        yield Bar(progress)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C ask for an early end, and the second one stop at once."""
    asked = Event()

    def handle(_number: int, _frame: Any) -> None:
        if asked.is_set():
            raise Interrupted
        asked.set()
        err.print("Ending with the best point so far; Ctrl-C again stops at once.")

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; columns whose name starts with ``>`` are aligned to the right."""
    shown = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        right = column.startswith(">")
        shown.add_column(column.lstrip(">"), justify="right" if right else "left", no_wrap=right)
    for row in rows:
        shown.add_row(*(_plain(cell) for cell in row))
    out.print(shown)


def _plain(cell: object) -> str:
    """Return text that cannot be mistaken for markup or move the cursor."""
    from rich.markup import escape

    return escape("".join(c if c.isprintable() else "?" for c in str(cell)))


def say(text: str) -> None:
    """Print a line."""
    out.print(_plain(text), soft_wrap=True)


def note(text: str) -> None:
    """Print a line on standard error: a guess or a warning."""
    err.print(_plain(text), soft_wrap=True, style="yellow" if text.startswith("WARNING") else "dim")


def as_json(value: Any) -> None:
    """Print a dataclass or pydantic model as JSON."""
    from pydantic import TypeAdapter

    sys.stdout.write(TypeAdapter(type(value)).dump_json(value, indent=2).decode() + "\n")


def complain(error: SpratError) -> None:
    """Print an error as one clear message on standard error."""
    place = f"{error.where}: " if error.where else ""
    err.print(f"[bold red]Error:[/] {_plain(place + error.what)}", soft_wrap=True)
    if error.hint:
        err.print(_plain(error.hint), soft_wrap=True)


def megabytes(size: int) -> str:
    """Say a size in MB of 10^6 bytes, or in kB below one."""
    return f"{size / 1e6:,.2f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} kB"
