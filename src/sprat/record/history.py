"""The implementation log of a folder: date, operation, result, notes; a line a run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from sprat.errors import OutputError
from sprat.record.schema import LogEntry

FILE = "history.jsonl"


def append(folder: Path, entry: LogEntry) -> None:
    """Add a line to a folder's log.

    The line goes out in one write at the end of the file, so that two runs at once do not mix.

    Args:
        folder: Made if it is missing.
        entry: The line.

    Raises:
        OutputError: The log cannot be written.
    """
    line = entry.model_dump_json() + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)
    except OSError as error:
        raise OutputError(
            f"cannot be written ({error.strerror}).", where=str(folder / FILE)
        ) from error


def read(folder: Path) -> tuple[LogEntry, ...]:
    """Read a folder's log, oldest first.

    A last line that a kill cut short is passed over.

    Args:
        folder: A folder that ``optimize`` or another command wrote into.

    Returns:
        The entries; none where nothing was logged.
    """
    path = folder / FILE
    if not path.is_file():
        return ()
    entries = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entries.append(LogEntry.model_validate_json(line))
        except ValidationError:
            continue
    return tuple(entries)


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
        lines.append(f"| {' | '.join(_cell(c) for c in cells)} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return flat.replace("\\", "\\\\").replace("|", "\\|")
