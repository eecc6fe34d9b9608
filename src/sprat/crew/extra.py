"""What shares a search among processes and machines: the extra ``scale``."""

from __future__ import annotations

from sprat import extras


def require() -> None:
    """Check that Dask's ``distributed`` is there.

    Raises:
        PackageMissingError: It is missing; the message says how to get it.
    """
    extras.require(
        "scale",
        ["distributed", "cryptography"],
        "--workers",
        without="Without --workers all works the same.",
    )
