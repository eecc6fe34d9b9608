"""What a command says where a package of one of the extras is missing."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from sprat.errors import PackageMissingError


def require(
    extra: str,
    names: Sequence[str],
    what: str,
    *,
    without: str = "Everything else works without.",
    error: type[PackageMissingError] = PackageMissingError,
) -> None:
    """Check that packages are there, without importing them.

    Args:
        extra: Of Sprat, that brings them.
        names: The packages.
        what: What needs them, in the user's words, as a singular.
        without: What goes on without them.
        error: What is raised.

    Raises:
        PackageMissingError: One is missing; the message says how to get it.
    """
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise error(
            f"{what} needs {' and '.join(missing)}, which {'are' if missing[1:] else 'is'} not "
            "installed.",
            hint=f"In the clone: pip install '.[{extra}]'. {without}",
        )
