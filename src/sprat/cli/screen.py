"""What the command line shows: tables, progress bars, JSON, errors."""

from __future__ import annotations

import os
import signal
import sys
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from sprat.cli.supervise import GRACE
from sprat.errors import SpratError
from sprat.supervisor import is_supervised, tell

#: Columns where the output is no terminal, such as a file or CI's log.
_WIDE = None if sys.stdout is not None and sys.stdout.isatty() else 150
#: Exit code where nobody reads the output any more: that of a process which SIGPIPE ends.
UNREAD = 128 + 13


def leave_unread(stream: TextIO | None = None) -> None:
    """Let what a stream still holds go nowhere.

    Args:
        stream: Standard output by default.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, (stream or sys.stdout).fileno())
    os.close(nowhere)


class _Console(Console):
    """Ends the command quietly where nobody reads on, as in ``sprat history | head``."""

    def on_broken_pipe(self) -> None:
        if self.stderr:  # the command may still have a result to give
            leave_unread(sys.stderr)
        else:
            leave_unread()
            sys.exit(UNREAD)


out = _Console(highlight=False, width=_WIDE)
err = _Console(stderr=True, highlight=False)


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
    hidden = quiet or not err.is_terminal
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=hidden) as progress:
        yield Bar(progress)


@contextmanager
def _on_interrupt(handle: Callable[[int, Any], None]) -> Iterator[None]:
    """Let the command end by itself on Ctrl-C while inside; the parent kills it if that is late."""
    before = signal.signal(signal.SIGINT, handle)
    tell("ends itself", wanted=True)
    try:
        yield
    finally:
        tell("ends itself", wanted=False)
        signal.signal(signal.SIGINT, before)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C ask for an early end with the best so far, where that takes a moment.

    The second one stops at once.
    """
    asked = Event()

    def handle(_number: int, _frame: Any) -> None:
        if asked.is_set():
            raise Interrupted
        asked.set()
        err.print(
            f"Ending with the best so far if that takes no more than {GRACE:g} s; "
            "Ctrl-C again stops at once."
        )

    with _on_interrupt(handle):
        yield asked.is_set


def wait_for_interrupt() -> None:
    """Return on Ctrl-C."""
    ended = Event()
    with _on_interrupt(lambda *_: ended.set()):
        while not ended.wait(1):
            pass


def open_page(address: str) -> None:
    """Open an address in the user's browser, which stays when the command ends."""
    if is_supervised():
        tell("open", address=address)
    else:
        webbrowser.open(address)


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

    text = TypeAdapter(type(value)).dump_json(value, indent=2).decode()
    try:
        sys.stdout.write(text + "\n")
    except BrokenPipeError:
        leave_unread()
        sys.exit(UNREAD)


def complain(error: SpratError) -> None:
    """Print an error as one clear message on standard error, if that can be written."""
    place = f"{error.where}: " if error.where else ""
    try:
        err.print(f"[bold red]Error:[/] {_plain(place + error.what)}", soft_wrap=True)
        if error.hint:
            err.print(_plain(error.hint), soft_wrap=True)
    except OSError:
        leave_unread(sys.stderr)


def megabytes(size: int) -> str:
    """Say a size in MB of 10^6 bytes, or in kB below one."""
    return f"{size / 1e6:,.2f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} kB"
