"""Small pictures of samples, as data URLs."""

from __future__ import annotations

import base64
import io
import tempfile
from pathlib import Path

from sprat.data.images import open_image
from sprat.errors import SampleError

#: Pixels of the longer side; shown smaller, so that it is sharp on a dense screen.
_SIDE = 144
#: A photograph in so many colours is a quarter of the bytes and looks the same at this size.
_COLOURS = 128


def thumbnail(source: Path | bytes) -> str | None:
    """Return a picture of at most 144 pixels a side as a ``data:`` URL of a PNG.

    Args:
        source: An image from a stranger: its file, or the bytes of it.

    Returns:
        The URL, or None where it cannot be read as an image.
    """
    if isinstance(source, bytes):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "sample")
            path.write_bytes(source)
            return thumbnail(path)
    try:
        image = open_image(source)
    except SampleError:
        return None
    image.thumbnail((_SIDE, _SIDE))
    small = image.quantize(_COLOURS) if image.mode == "RGB" else image
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
