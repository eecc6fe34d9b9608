"""What a study needs: the extra ``tune``."""

from __future__ import annotations

from sprat import extras


def require(study: str | None) -> None:
    """Check that optuna, and the driver of a database, is there.

    Args:
        study: Its URL; None for a file.

    Raises:
        PackageMissingError: A package is missing; the message says how to get it.
    """
    driver = ["psycopg"] if study is not None and study.startswith("postgres") else []
    extras.require(
        "tune", ["optuna", *driver], "tune", without="Every other command works without."
    )
