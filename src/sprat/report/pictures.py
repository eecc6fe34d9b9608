"""Small pictures of samples, as data URLs."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from sprat.data.preprocess import open_image
from sprat.errors import SampleError

_SIDE = 112


def thumbnail(path: Path) -> str:
    """Return a picture of at most 112 pixels a side as a ``data:`` URL.

    Args:
        path: An image from a stranger.

    Returns:
        The URL, or nothing where the image cannot be read.
    """
    try:
        image = open_image(path)
    except SampleError:
        return ""
    image.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
