"""Say what to install where the packages of the extra ``web`` are missing."""

from __future__ import annotations

from importlib.util import find_spec

from sprat.errors import WebPackagesMissingError

_NAMES = ("playwright", "psutil", "safetensors", "starlette", "uvicorn")


def require() -> None:
    """Check that what serves a page, and what a browser is driven with, is there.

    Raises:
        WebPackagesMissingError: A package is missing; the message says how to get it.
    """
    missing = [name for name in _NAMES if find_spec(name) is None]
    if missing:
        raise WebPackagesMissingError(
            f"pages and browsers need {' and '.join(missing)}, which "
            f"{'are' if missing[1:] else 'is'} not installed.",
            hint="In the clone: pip install '.[web]'. Everything else works without.",
        )
