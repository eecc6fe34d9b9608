"""Say what to install where optuna, or the driver of a database, is missing."""

from __future__ import annotations

from importlib.util import find_spec

from sprat.errors import PackageMissingError


def require(study: str | None) -> None:
    """Check that what a study needs is there, without importing it.

    Args:
        study: Its URL; None for a file.

    Raises:
        PackageMissingError: A package is missing; the message says how to get it.
    """
    needed = ["optuna"]
    if study is not None and study.startswith("postgres"):
        needed.append("psycopg")
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise PackageMissingError(
            f"tune needs {' and '.join(missing)}, which {'are' if missing[1:] else 'is'} not "
            "installed.",
            hint="In the clone: pip install '.[tune]'. Every other command works without.",
        )
