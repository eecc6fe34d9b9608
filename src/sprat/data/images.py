"""Images from strangers: decoded within bounds, upright, opaque, 8 bits a channel."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from sprat.errors import SampleError

#: Endings of the files that count as images.
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
#: Larger images are refused: a small file can unpack to gigabytes.
MAX_PIXELS = 64_000_000
#: Other decoders stay shut, whatever a file's name: PostScript would start another program.
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)


def open_image(path: Path) -> Image.Image:
    """Decode an image; of an animation, its first frame.

    Args:
        path: PNG, JPEG, WebP, GIF, BMP or TIFF.

    Returns:
        The image in mode ``L`` or ``RGB``, turned upright by its EXIF orientation, transparency
        laid on white, 16-bit grey cut to its upper 8 bits.

    Raises:
        SampleError: It is no image, is cut short, is a decompression bomb, or has 32-bit pixels.
    """
    with _opened(path) as image:
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return _plain(image, path)


def image_size(path: Path) -> tuple[int, int]:
    """Return the height and width of an image once it is upright, from its header alone.

    Raises:
        SampleError: It is no image, or is a decompression bomb.
    """
    with _opened(path) as image:
        turned = image.getexif().get(_ORIENTATION) in _TURNED
        return (image.width, image.height) if turned else (image.height, image.width)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata is no reason to refuse pixels
            with Image.open(path, formats=_FORMATS) as image:
                _check_pixels(image, path)
                yield image
    except SampleError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(path, "far too many") from error
    except Exception as error:  # Pillow's decoders raise many unrelated classes
        raise SampleError(
            f"cannot be read as an image ({_reason(error)}).",
            where=str(path),
            hint="Remove it, or save it again as PNG or JPEG.",
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"it is none of {', '.join(_FORMATS)}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return next(iter(str(error).splitlines()), type(error).__name__)


def _check_pixels(image: Image.Image, path: Path) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(path, f"{image.width} x {image.height}")


def _too_large(path: Path, pixels: str) -> SampleError:
    return SampleError(
        f"has {pixels} pixels; at most {MAX_PIXELS:,} are read.",
        where=str(path),
        hint="Remove it, or scale it down.",
    )


def _plain(image: Image.Image, path: Path) -> Image.Image:
    if image.mode in ("I", "F"):
        raise SampleError(
            "has 32-bit pixels, whose range is not known.",
            where=str(path),
            hint="Save it with 8 bits a channel.",
        )
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    if image.mode == "1":
        return image.convert("L")
    return image.copy() if image.mode in ("L", "RGB") else image.convert("RGB")
