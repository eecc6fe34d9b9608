"""Say what to install where torch is missing."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from sprat.errors import PackageMissingError


def require(
    what: str = "teaching a student", names: Sequence[str] = ("torch", "torchvision")
) -> None:
    """Check that torch and what comes with it are there, without importing them.

    Args:
        what: What needs them, in the user's words.
        names: The packages.

    Raises:
        PackageMissingError: One is missing; the message says how to get it.
    """
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise PackageMissingError(
            f"{what} needs {' and '.join(missing)}, which {'are' if missing[1:] else 'is'} not "
            "installed.",
            hint="In the clone: pip install '.[distill]'. Everything else works without.",
        )
