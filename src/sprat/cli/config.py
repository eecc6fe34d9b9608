"""``--config``: a command's options from its table of a ``sprat.toml``.

What stands on the command line goes before. Without ``--config`` the current folder's
``sprat.toml`` counts, if it has the table: names of the user's code may stand there, so that no
other folder is looked into.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sprat.errors import OptionError

if TYPE_CHECKING:
    from sprat.data.options import DataOptions

_USUAL = Path("sprat.toml")


def _read(context: typer.Context, path: Path | None) -> Path | None:
    """Make a table's values the defaults of the command's options."""
    from sprat.data.options import read_table

    place = path or _USUAL
    command = context.info_name or ""
    if path is None and not place.is_file():
        return None
    table = read_table(place, command)
    # By their flags, as --help has them: some parameters have another name than their flag.
    known = {
        flag.removeprefix("--"): p.name
        for p in context.command.params
        for flag in p.opts
        if flag.startswith("--") and p.name
    }
    for key in table:
        if key not in known:
            raise OptionError(
                f"[{command}] has the unknown key {key!r}; known are the options of "
                f"'sprat {command} --help'.",
                where=str(place),
            )
    context.default_map = {known[key]: _text(value) for key, value in table.items()}
    return path


def _text(value: Any) -> Any:
    """Return a value as the command line would have it: a list with commas."""
    return ",".join(map(str, value)) if isinstance(value, list) else value


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="A sprat.toml with options of this command; the current folder's by default.",
        callback=_read,
        is_eager=True,
    ),
]


def with_file(options: DataOptions | None, path: Path | None) -> DataOptions | None:
    """Return options on data, with those of the file that ``--config`` names after them.

    Args:
        options: From the command line.
        path: What ``--config`` named.
    """
    from sprat.data.options import DataOptions, read_file

    if path is None:
        return options
    given = options.model_dump(exclude_none=True) if options is not None else {}
    return DataOptions(**{**read_file(path).model_dump(exclude_none=True), **given})
