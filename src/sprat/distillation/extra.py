"""Say what to install where torch is missing."""

from __future__ import annotations

from importlib.util import find_spec

from sprat.errors import PackageMissingError


def require() -> None:
    """Check that torch and torchvision are there, without importing them.

    Raises:
        PackageMissingError: One is missing; the message says how to get it.
    """
    missing = [name for name in ("torch", "torchvision") if find_spec(name) is None]
    if missing:
        raise PackageMissingError(
            f"teaching a student needs {' and '.join(missing)}, "
            f"which {'are' if missing[1:] else 'is'} not installed.",
            hint="Install with: pip install 'sprat[distill]'. All else works without.",
        )
