"""What teaches a student: the extra ``distill``."""

from __future__ import annotations

from collections.abc import Sequence

from sprat import extras


def require(
    what: str = "teaching a student", names: Sequence[str] = ("torch", "torchvision")
) -> None:
    """Check that torch and what comes with it are there.

    Args:
        what: What needs them, in the user's words.
        names: The packages.

    Raises:
        PackageMissingError: One is missing; the message says how to get it.
    """
    extras.require("distill", names, what)
