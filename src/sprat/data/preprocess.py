"""From an image file to the model's input, in the field's terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sprat.data.images import MAX_PIXELS, open_image
from sprat.data.options import Channels, Interpolation, Layout, Resize
from sprat.errors import SampleError

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}


@dataclass(frozen=True)
class Preprocess:
    """How one image becomes one sample of the input.

    Attributes:
        input: Name of the model's input.
        size: Height and width after resizing.
        resize: ``stretch``; ``shortest`` (cover the size, then cut the centre); or ``letterbox``
            (fit inside, then pad).
        crop: Height and width of the centre crop, at most ``size``; None where there is none.
        channels: ``rgb``, ``bgr`` or ``gray``.
        layout: ``nchw`` or ``nhwc``.
        scale: Factor on pixel values 0 to 255.
        mean: Per channel of the input, subtracted after scaling.
        std: Per channel of the input, divided by.
        interpolation: Filter for resizing.
        dtype: Type of the model's input; ``uint8`` takes pixels as they are.
        pad: Pixel value around a letterboxed image.
    """

    input: str
    size: tuple[int, int]
    resize: Resize
    crop: tuple[int, int] | None
    channels: Channels
    layout: Layout
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Interpolation = "bilinear"
    dtype: str = "float32"
    pad: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        fields = asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}

    def pixels(self, path: Path) -> NDArray[np.uint8]:
        """Read, resize and crop an image.

        An image that has the target size already is not resampled.

        Args:
            path: The image.

        Returns:
            uint8 ``[H, W, 3]`` in the order red, green, blue; ``[H, W, 1]`` where the image or
            the model is grey.

        Raises:
            SampleError: The file is no image, is cut short, or is a decompression bomb.
        """
        image = open_image(path)
        try:
            image = resized(image, self)
        except SampleError as error:
            raise SampleError(error.what, where=str(path), hint=error.hint) from error
        if self.crop is not None:
            image = _centre(image, *self.crop)
        array = np.asarray(image.convert("L") if self.channels == "gray" else image)
        return array[:, :, None] if array.ndim == 2 else array

    def normalize(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[Any]:
        """Compute ``(pixel * scale - mean) / std`` in float32 and lay it out for the input.

        Args:
            images: From :meth:`pixels`.

        Returns:
            ``[N, C, H, W]`` or ``[N, H, W, C]`` of the input's type, contiguous.
        """
        table = self._table
        height, width = images[0].shape[:2]
        planes = np.empty((len(images), len(table), height, width), table.dtype)
        for planes_of_one, image in zip(planes, images, strict=True):
            for channel, plane in enumerate(planes_of_one):
                source = -1 - channel if self.channels == "bgr" else channel
                pixels = image[:, :, source if image.shape[2] > 1 else 0]
                np.take(table[channel], pixels, out=plane, mode="clip")
        if self.layout == "nchw":
            return planes
        return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))

    @cached_property
    def _table(self) -> NDArray[Any]:
        """The value of each of the 256 pixel values in each channel: ``[C, 256]``."""
        pixels = np.arange(256, dtype=np.float32)
        if self.dtype == "uint8":
            return np.tile(pixels.astype(np.uint8), (len(self.mean), 1))
        mean = np.asarray(self.mean, np.float32)[:, None]
        std = np.asarray(self.std, np.float32)[:, None]
        values: NDArray[Any] = (pixels * np.float32(self.scale) - mean) / std
        return values.astype(self.dtype)


def resized(image: Image.Image, how: Preprocess) -> Image.Image:
    """Bring an image to ``how.size``.

    Args:
        image: ``L`` or ``RGB``.
        how: Gives ``size``, ``resize``, ``interpolation`` and ``pad``.

    Returns:
        The image, of exactly that size.

    Raises:
        SampleError: The image is so long and thin that covering the size would enlarge it beyond
            what is read.
    """
    height, width = how.size
    if image.size == (width, height):
        return image
    if how.resize == "stretch":
        return _scaled(image, width, height, how)
    if how.resize == "shortest":
        return _centre(_scaled(image, *_cover(image, height, width), how), height, width)
    inner = _scaled(image, *_contain(image, height, width), how)
    colour = how.pad if inner.mode == "L" else (how.pad, how.pad, how.pad)
    padded = Image.new(inner.mode, (width, height), colour)
    padded.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
    return padded


def _scaled(image: Image.Image, width: int, height: int, how: Preprocess) -> Image.Image:
    if image.size == (width, height):
        return image
    return image.resize((width, height), _FILTERS[how.interpolation])


def _cover(image: Image.Image, height: int, width: int) -> tuple[int, int]:
    """Width and height that cover the target; the longer side rounds down, as in torchvision."""
    if image.width * height > image.height * width:
        width = height * image.width // image.height
    else:
        height = width * image.height // image.width
    if width * height > MAX_PIXELS:
        raise SampleError(
            f"is too long and thin, {image.width} x {image.height} pixels.",
            hint="Remove it, or use --resize letterbox.",
        )
    return width, height


def _contain(image: Image.Image, height: int, width: int) -> tuple[int, int]:
    """Width and height that fit inside the target; the shorter side rounds to the nearest."""
    factor = min(width / image.width, height / image.height)
    return max(1, round(image.width * factor)), max(1, round(image.height * factor))


def _centre(image: Image.Image, height: int, width: int) -> Image.Image:
    if image.size == (width, height):
        return image
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
