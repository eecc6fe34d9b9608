"""The user's own folder for what Sprat keeps beyond a run: a key, and what was trusted."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def state_folder() -> Path | None:
    """Return the folder for Sprat's state; it need not be there.

    It is ``sprat`` in ``$XDG_STATE_HOME`` where that is an absolute path (the XDG Base Directory
    Specification ignores others), else in ``~/.local/state``; on Windows in ``%LOCALAPPDATA%``; on
    macOS in ``~/Library/Application Support``.

    Returns:
        The folder; None where the user has no home.
    """
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - pathlib raises where there is none
    if sys.platform == "win32":
        base, usual = os.environ.get("LOCALAPPDATA", ""), home / "AppData" / "Local"
    elif sys.platform == "darwin":
        base, usual = "", home / "Library" / "Application Support"
    else:
        base, usual = os.environ.get("XDG_STATE_HOME", ""), home / ".local" / "state"
    folder = Path(base) if base and Path(base).is_absolute() else usual
    return folder / "sprat" if folder.is_absolute() else None
