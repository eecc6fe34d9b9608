"""What serves a page, and what a browser is driven with: the extra ``web``."""

from __future__ import annotations

from sprat import extras
from sprat.errors import WebPackagesMissingError

_NAMES = ("playwright", "psutil", "safetensors", "starlette", "uvicorn")


def require() -> None:
    """Check that all of it is there.

    Raises:
        WebPackagesMissingError: A package is missing; the message says how to get it.
    """
    extras.require("web", _NAMES, "a page or a browser", error=WebPackagesMissingError)
