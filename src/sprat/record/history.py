"""The implementation log of a folder: date, operation, result, notes; a line a run."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from sprat.errors import InputError, OutputError
from sprat.files import PLAIN, read_plain, unwritten
from sprat.record.schema import LogEntry

FILE = "history.jsonl"
#: How each entry begins.
_START = b'{"date":"'


def append(folder: Path, entry: LogEntry) -> None:
    """Add a line to a folder's log.

    The line goes out in one write at the end of the file, so that two runs at once do not mix. If
    a kill cut the last line short, the new one does not grow onto it.

    Args:
        folder: Made if it is missing.
        entry: The line.

    Raises:
        OutputError: The log cannot be written; see also :func:`check_log`.
    """
    path = folder / FILE
    line = f"{entry.model_dump_json()}\n".encode()
    check_log(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | PLAIN, 0o644)
        try:
            os.write(handle, line if _ends_whole(handle) else b"\n" + line)
        finally:
            os.close(handle)
    except OSError as error:
        raise unwritten(path, error) from error


def check_log(folder: Path) -> None:
    """Refuse to add lines to a file that is no log of Sprat's.

    Args:
        folder: Whose log it would be.

    Raises:
        OutputError: ``history.jsonl`` is a link, or something else than a log.
    """
    path = folder / FILE
    if not os.path.lexists(path):
        return
    try:
        content = read_plain(path)
    except OSError as error:
        raise _no_log(path) from error
    if content and not _is_log(content):
        raise _no_log(path)


def _is_log(content: bytes) -> bool:
    """Say whether a file begins with an entry, but for lines that kills cut short."""
    for line in content.split(b"\n"):
        if _entry(line) is not None:
            return True
        is_cut = bool(line) and (line.startswith(_START) or _START.startswith(line))
        if not is_cut or _is_json(line):
            return False
    return True


def _no_log(path: Path) -> OutputError:
    return OutputError(
        "is no log of Sprat's, or a link; nothing is added to it.",
        where=str(path),
        hint="Move it away, or let the results go elsewhere.",
    )


def read(folder: Path) -> tuple[LogEntry, ...]:
    """Read a folder's log, oldest first.

    Lines that a kill cut short are passed over.

    Args:
        folder: A folder that ``optimize`` or another command wrote into.

    Returns:
        The entries; none where nothing was logged.

    Raises:
        InputError: The log is there but cannot be read.
    """
    path = folder / FILE
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror}).", where=str(path)) from error
    return tuple(entry for line in lines if (entry := _entry(line)) is not None)


def as_markdown(entries: Sequence[LogEntry]) -> str:
    """Write the log as a Markdown table.

    Args:
        entries: Oldest first.

    Returns:
        The table, without a final newline.
    """
    lines = ["| date | operation | result | notes |", "|---|---|---|---|"]
    for e in entries:
        cells = (e.date, e.operation, e.result, e.notes)
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    return "\n".join(lines)


def _ends_whole(handle: int) -> bool:
    """Say whether the file is empty or ends with a line feed."""
    if not os.lseek(handle, 0, os.SEEK_END):
        return True
    os.lseek(handle, -1, os.SEEK_END)
    return os.read(handle, 1) == b"\n"


def _entry(line: bytes) -> LogEntry | None:
    try:
        return LogEntry.model_validate_json(line)
    except ValidationError:
        return None


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _cell(text: str) -> str:
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return flat.replace("\\", "\\\\").replace("|", "\\|")
