"""The implementation log of a folder: date, operation, result, notes; a line a run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from sprat.errors import InputError, OutputError
from sprat.record.schema import LogEntry

FILE = "history.jsonl"


def append(folder: Path, entry: LogEntry) -> None:
    """Add a line to a folder's log.

    The line goes out in one write at the end of the file, so that two runs at once do not mix. If
    a kill cut the last line short, the new one does not grow onto it.

    Args:
        folder: Made if it is missing.
        entry: The line.

    Raises:
        OutputError: The log cannot be written.
    """
    path = folder / FILE
    line = f"{entry.model_dump_json()}\n".encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(handle, line if _ends_whole(handle) else b"\n" + line)
        finally:
            os.close(handle)
    except OSError as error:
        raise OutputError(
            f"cannot be written ({error.strerror}).",
            where=str(path),
            hint="Check the folder's permissions and the space on the disk.",
        ) from error


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


def _cell(text: str) -> str:
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return flat.replace("\\", "\\\\").replace("|", "\\|")
