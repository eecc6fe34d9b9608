"""The state of a training, kept after each epoch so that a kill costs at most one."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from sprat.errors import OptionError
from sprat.files import write_atomic


def read(path: Path) -> dict[str, Any] | None:
    """Read a state; None where there is none.

    Args:
        path: Its file.

    Raises:
        OptionError: The file is damaged.
    """
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise OptionError(
            f"holds no whole state of a training ({type(error).__name__}).",
            where=str(path),
            hint="Delete it to train from the beginning.",
        ) from error
    return found


def write(path: Path, state: dict[str, Any]) -> None:
    """Write a state by temporary file and rename.

    Args:
        path: Its file.
        state: Tensors, numbers, text, and lists and dicts of these.

    Raises:
        OutputError: It cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(path, buffer.getvalue())
