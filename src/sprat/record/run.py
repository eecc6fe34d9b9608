"""Read and write ``run.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, JsonValue, ValidationError
from pydantic.json_schema import GenerateJsonSchema

from sprat.errors import OptionError
from sprat.record.schema import Run

#: A record of a thousand candidates is a tenth of this.
_MOST_BYTES = 64 << 20
_ANEW = "Make it anew with 'sprat optimize'."


class _Head(BaseModel):
    """What the records of all versions have; other programs write a ``run.json`` as well."""

    schema_version: JsonValue
    sprat: JsonValue


def dump_run(run: Run) -> str:
    """Return a run as JSON text, two spaces deep; :func:`load_run` gives the same run back."""
    return run.model_dump_json(indent=2) + "\n"


def load_run(path: Path) -> Run:
    """Read a run.

    Args:
        path: A ``run.json``.

    Returns:
        The run.

    Raises:
        OptionError: It cannot be read, is no run record, or is one of another version.
    """
    content = _content(path)
    if len(content) > _MOST_BYTES:
        raise OptionError(
            f"has more than {_MOST_BYTES:,} bytes, too many for a run record.", where=str(path)
        )
    return _parsed(path, content)


def find_run(path: Path) -> Run | None:
    """Read a run where there is one.

    Args:
        path: Where it would be.

    Returns:
        The run; None where there is no file, or one that no version of Sprat wrote.

    Raises:
        OptionError: It cannot be read, or is a run record that is damaged or of another version.
    """
    if not path.is_file():
        return None
    content = _content(path)
    try:
        _Head.model_validate_json(content)
    except ValidationError:
        return None
    return _parsed(path, content)


def _content(path: Path) -> bytes:
    """Return a file's content, up to one byte more than a record may have."""
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise OptionError(f"cannot be read ({error.strerror}).", where=str(path)) from error


def _parsed(path: Path, content: bytes) -> Run:
    try:
        return Run.model_validate_json(content)
    except ValidationError as error:
        raise OptionError(_reason(error), where=str(path), hint=_ANEW) from error


def schema() -> dict[str, Any]:
    """Return the JSON Schema of ``run.json``."""
    return {"$schema": GenerateJsonSchema.schema_dialect, **Run.model_json_schema()}


def schema_text() -> str:
    """Return the JSON Schema as it is published in ``docs/run.schema.json``."""
    return json.dumps(schema(), indent=2, sort_keys=True) + "\n"


def _reason(error: ValidationError) -> str:
    problems = {problem["loc"]: problem for problem in error.errors(include_url=False)}
    if () in problems:
        return f"is not a run record: {problems[()]['msg']}."
    version = problems.get(("schema_version",))
    if version is not None:
        wanted = Run.model_fields["schema_version"].default
        return f"is a run record of version {version['input']!r:.20}; version {wanted} is read."
    place, problem = next(iter(problems.items()))
    return f"is not a whole run record: {'.'.join(map(str, place))}: {problem['msg']}."
