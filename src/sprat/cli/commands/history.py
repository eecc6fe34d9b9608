"""``sprat history``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sprat.cli.options import JsonOption


def command(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="The folder.", show_default="here")
    ] = Path(),
    json: JsonOption = False,
) -> None:
    """Print what was done in a folder as Markdown: date, operation, result, notes.

    \b
    Examples:
      sprat history small
      sprat history small --json
    """
    from pydantic import TypeAdapter

    from sprat.errors import DataNotFoundError
    from sprat.record.history import as_markdown, read
    from sprat.record.schema import LogEntry

    entries = read(folder)
    if not entries:
        raise DataNotFoundError(
            "has no log.", where=str(folder), hint="optimize, quantize and prove write one."
        )
    if json:
        typer.echo(TypeAdapter(tuple[LogEntry, ...]).dump_json(entries, indent=2).decode())
    else:
        typer.echo(as_markdown(entries))
