"""The state of a training, kept after each epoch so that a kill costs at most one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from sprat.sealed import read_sealed, write_sealed


def read(path: Path) -> dict[str, Any] | None:
    """Read a state.

    Args:
        path: Its file.

    Returns:
        The state; None where there is none that this user's runs wrote: the training begins anew.
    """
    content = read_sealed(path)
    if content is None:
        return None
    found: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
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
    write_sealed(path, buffer.getvalue())
