"""The user's own code, by name: ``package.module:function``, seen from the current folder."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sprat.errors import OptionError


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let modules of ``folder`` be imported, also late, from within a function of theirs."""
    entry = str(folder)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        sys.path.remove(entry)


def imported(name: str, where: str) -> Any:
    """Import what ``package.module:attribute`` names.

    Args:
        name: The name.
        where: The option that gave it, for errors.

    Returns:
        The attribute.

    Raises:
        OptionError: It is no such name, or its module cannot be imported.
    """
    module, _, attribute = name.partition(":")
    hint = "Give package.module:function, seen from the current folder."
    if not module or not attribute:
        raise OptionError("names no function.", where=where, hint=hint)
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:  # importing runs the user's code
        raise OptionError(
            f"cannot be imported ({type(error).__name__}: {error}).", where=where, hint=hint
        ) from error
