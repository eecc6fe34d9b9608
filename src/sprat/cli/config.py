"""``--config``: a command's options from its table of a ``sprat.toml``.

What stands on the command line goes before. Without ``--config`` the current folder's
``sprat.toml`` counts, if it has the table: names of the user's code may stand there, so that no
other folder is looked into.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sprat.errors import OptionError

if TYPE_CHECKING:
    from sprat.data.options import DataOptions

_USUAL = Path("sprat.toml")
#: Where an option comes from that the user gave.
_OWN_WORD = ("COMMANDLINE", "ENVIRONMENT", "PROMPT")
#: Options that only the user gives: a file that could set them would trust itself.
_NOT_IN_A_FILE = ("trust", "config")


def _read(context: typer.Context, path: Path | None) -> Path | None:
    """Make a table's values the defaults of the command's options."""
    from sprat.data.options import read_table

    place = path or _USUAL
    command = context.info_name or ""
    if path is None and not place.is_file():
        return None
    table = read_table(place, command)
    # By their flags, as --help has them: some parameters have another name than their flag.
    known = {flag: name for name, flags in _flags(context) for flag in flags}
    for key in table:
        if key in _NOT_IN_A_FILE:
            raise OptionError(
                f"sets {key!r}, which only the command line may.",
                where=str(place),
                hint=f"Read the file. Where it may be believed, take {key!r} out of [{command}].",
            )
        if key not in known:
            raise OptionError(
                f"[{command}] has the unknown key {key!r}; known are the options of "
                f"'sprat {command} --help'.",
                where=str(place),
            )
    repeated = {p.name for p in context.command.params if getattr(p, "multiple", False)}
    given = {known[key]: value for key, value in table.items()}
    context.default_map = {
        name: _listed(value) if name in repeated else _text(value) for name, value in given.items()
    }
    return path


def _listed(value: Any) -> list[str]:
    """Return a value as an option that may be repeated has it."""
    return [str(part) for part in (value if isinstance(value, list) else [value])]


def _flags(context: typer.Context) -> Iterator[tuple[str, list[str]]]:
    """Yield each parameter's name, and its flags without their dashes."""
    for p in context.command.params:
        if p.name:
            yield p.name, [f.removeprefix("--") for f in p.opts if f.startswith("--")]


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


def check_found_file(context: typer.Context) -> None:
    """Check that the current folder's ``sprat.toml`` may say what a command has read there.

    Args:
        context: Of the command; a file that ``--config`` names was chosen by the user. Where the
            command line itself says ``--trust``, that is remembered.

    Raises:
        OptionError: It names code, or places elsewhere, and is not trusted; or there is none.
    """
    from sprat.data.options import read_table
    from sprat.data.trust import check_trusted, risks, trust

    sources = {name: context.get_parameter_source(name) for name in context.params}
    said = sources.get("trust")
    if context.params.get("trust") and said is not None and said.name == "COMMANDLINE":
        trust(_USUAL)
    if context.params.get("config", context) is None and _USUAL.is_file():
        given = {n for n, source in sources.items() if source and source.name in _OWN_WORD}
        table = read_table(_USUAL, context.info_name or "")
        named = {flag: name for name, flags in _flags(context) for flag in flags}
        check_trusted(_USUAL, [key for key in risks(table) if named.get(key) not in given])


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
