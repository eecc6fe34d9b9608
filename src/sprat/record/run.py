"""Read and write ``run.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sprat.errors import OptionError
from sprat.record.schema import Run


def dump_run(run: Run) -> str:
    """Return a run as JSON text, two spaces deep."""
    return run.model_dump_json(indent=2) + "\n"


def load_run(path: Path) -> Run:
    """Read a run.

    Args:
        path: A ``run.json``.

    Returns:
        The run.

    Raises:
        OptionError: It cannot be read, or is of another version.
    """
    try:
        return Run.model_validate_json(path.read_bytes())
    except OSError as error:
        raise OptionError(f"cannot be read: {error.strerror}.", where=str(path)) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise OptionError(
            f"is no run record of this version ({place}: {first['msg']}).",
            where=str(path),
            hint="Make it anew with 'sprat optimize'.",
        ) from error


def schema() -> dict[str, Any]:
    """Return the JSON Schema of ``run.json``."""
    return Run.model_json_schema()


def schema_text() -> str:
    """Return the JSON Schema as it is published in ``docs/run.schema.json``."""
    return json.dumps(schema(), indent=2, sort_keys=True) + "\n"
