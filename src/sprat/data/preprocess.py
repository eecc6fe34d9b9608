"""From an image file to the model's input, in the field's terms."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from sprat.data.options import Channels, DataOptions, Interpolation, Layout, Resize
from sprat.errors import OptionError, SampleError
from sprat.model.inspect import TensorInfo

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
#: Larger images are refused: a small file can unpack to gigabytes.
MAX_PIXELS = 64_000_000
_DTYPES = ("float32", "float16", "uint8", "int8", "float64")


@dataclass(frozen=True)
class Preprocess:
    """How one image becomes one sample of the input.

    Attributes:
        input: Name of the model's input.
        size: Height and width after resizing.
        resize: ``stretch``, ``shortest`` or ``letterbox``.
        crop: Height and width of the centre crop; None where there is none.
        channels: ``rgb``, ``bgr`` or ``gray``.
        layout: ``nchw`` or ``nhwc``.
        scale: Factor on pixel values 0 to 255.
        mean: Per channel, subtracted after scaling.
        std: Per channel, divided by.
        interpolation: Filter for resizing.
        dtype: Type of the model's input.
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

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        fields = asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}

    def pixels(self, path: Path) -> NDArray[np.uint8]:
        """Read, resize and crop an image.

        Transparency is laid on white, and the camera's orientation applied. An image that has
        the target size already is not resampled.

        Args:
            path: The image.

        Returns:
            uint8 ``[H, W, C]`` in the order of ``channels``.

        Raises:
            SampleError: The file is no image, is cut short, or is a decompression bomb.
        """
        image = _fit(open_image(path), self)
        array = np.asarray(image.convert("L" if self.channels == "gray" else "RGB"))
        array = array[:, :, None] if array.ndim == 2 else array
        return array[:, :, ::-1] if self.channels == "bgr" else array

    def normalize(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Compute ``(pixels * scale - mean) / std`` and bring it into the input's layout.

        Args:
            pixels: uint8 ``[N, H, W, C]``.

        Returns:
            ``[N, C, H, W]`` or ``[N, H, W, C]`` of the input's type.
        """
        if self.dtype in ("uint8", "int8"):
            values: NDArray[Any] = pixels.astype(self.dtype)
        else:
            mean = np.asarray(self.mean, np.float32)
            std = np.asarray(self.std, np.float32)
            scaled = pixels.astype(np.float32) * np.float32(self.scale)
            values = ((scaled - mean) / std).astype(self.dtype)
        if self.layout == "nchw":
            values = values.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(values)


def open_image(path: Path) -> Image.Image:
    """Open an image from a stranger.

    Args:
        path: The file.

    Returns:
        The image, decoded and upright, ``L`` or ``RGB``, transparency laid on white.

    Raises:
        SampleError: It is no image, is cut short, or is a decompression bomb.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                _check_pixels(image, path)
                image.load()
                return _on_white(ImageOps.exif_transpose(image))
    except SampleError:
        raise
    except Exception as error:  # Pillow's decoders raise many unrelated classes
        raise SampleError(
            "cannot be read as an image.",
            where=str(path),
            hint="Remove it, or convert it to PNG or JPEG.",
        ) from error


def _check_pixels(image: Image.Image, path: Path) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise SampleError(
            f"has {image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are read.",
            where=str(path),
        )


def _on_white(image: Image.Image) -> Image.Image:
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    if image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.uint16)
        return Image.fromarray((wide >> 8).astype(np.uint8))
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _fit(image: Image.Image, how: Preprocess) -> Image.Image:
    height, width = how.size
    if how.resize == "stretch":
        out = _resized(image, width, height, how)
    else:
        ratios = width / image.width, height / image.height
        factor = max(ratios) if how.resize == "shortest" else min(ratios)
        scaled = max(1, round(image.width * factor)), max(1, round(image.height * factor))
        out = _resized(image, *scaled, how)
        if how.resize == "letterbox":
            padded = Image.new(out.mode, (width, height))
            padded.paste(out, ((width - out.width) // 2, (height - out.height) // 2))
            out = padded
        elif how.crop is None:
            out = _centre(out, height, width)
    return _centre(out, *how.crop) if how.crop else out


def _resized(image: Image.Image, width: int, height: int, how: Preprocess) -> Image.Image:
    if image.size == (width, height):
        return image
    return image.resize((width, height), _FILTERS[how.interpolation])


def _centre(image: Image.Image, height: int, width: int) -> Image.Image:
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def make_preprocess(
    inputs: Sequence[TensorInfo], options: DataOptions, first: Path
) -> tuple[Preprocess, tuple[str, ...]]:
    """Complete what the options say by guesses from the input's shape.

    Args:
        inputs: The model's inputs; exactly one can eat images.
        options: What is known.
        first: An image; its size is taken where the input's is dynamic.

    Returns:
        The preprocessing, and each guess in words.

    Raises:
        OptionError: The model does not eat images, or an option does not fit it.
    """
    tensor = _image_input(inputs)
    notes: list[str] = []
    layout, channels_last = _layout(tensor, options)
    depth = tensor.shape[3] if channels_last else tensor.shape[1]
    channels = options.channels or ("gray" if depth == 1 else "rgb")
    count = 1 if channels == "gray" else 3
    if isinstance(depth, int) and depth > 0 and depth != count:
        raise OptionError(
            f"input {tensor.name!r} wants {depth} channels, {channels} has {count}.",
            where="--channels",
            hint="Set --channels or --layout.",
        )
    target = _target_size(tensor, layout, options, first, notes)
    crop = options.crop
    size = options.size or target
    resize = options.resize or ("shortest" if options.size is None else "stretch")
    if crop is None and options.size is not None and target != size and _fixed(tensor, layout):
        crop = target
    scale, mean, std = _normalization(options, count, tensor, notes)
    if not notes:
        notes.append("preprocessing as in the options")
    how = Preprocess(
        input=tensor.name,
        size=size,
        resize=resize,
        crop=crop,
        channels=channels,
        layout=layout,
        scale=scale,
        mean=mean,
        std=std,
        interpolation=options.interpolation or "bilinear",
        dtype=tensor.dtype,
    )
    return how, tuple(notes)


def _image_input(inputs: Sequence[TensorInfo]) -> TensorInfo:
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].dtype not in _DTYPES:
        shown = ", ".join(f"{t.name} {t.dtype}{list(t.shape)}" for t in inputs)
        raise OptionError(
            f"the model does not eat images: its inputs are {shown}.",
            where="--data",
            hint="Give ready tensors as .npz, named by the inputs, or package.module:function.",
        )
    return inputs[0]


def _layout(tensor: TensorInfo, options: DataOptions) -> tuple[Layout, bool]:
    last = tensor.shape[3] in (1, 3) and tensor.shape[1] not in (1, 3)
    layout: Layout = options.layout or ("nhwc" if last else "nchw")
    return layout, layout == "nhwc"


def _spatial(tensor: TensorInfo, layout: Layout) -> tuple[int | str, int | str]:
    return (tensor.shape[1], tensor.shape[2]) if layout == "nhwc" else tensor.shape[2:4]  # type: ignore[return-value]


def _fixed(tensor: TensorInfo, layout: Layout) -> bool:
    return all(isinstance(d, int) and d > 0 for d in _spatial(tensor, layout))


def _target_size(
    tensor: TensorInfo, layout: Layout, options: DataOptions, first: Path, notes: list[str]
) -> tuple[int, int]:
    height, width = _spatial(tensor, layout)
    if isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0:
        return height, width
    if options.size is not None:
        return options.size
    image = open_image(first)
    notes.append(
        f"input {tensor.name!r} has a dynamic size: taken from the first image, "
        f"{image.height} x {image.width} (--size)"
    )
    return image.height, image.width


def _normalization(
    options: DataOptions, count: int, tensor: TensorInfo, notes: list[str]
) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
    known = options.scale is not None or options.mean is not None or options.std is not None
    if tensor.dtype in ("uint8", "int8"):
        return 1.0, (0.0,) * count, (1.0,) * count
    scale = options.scale if options.scale is not None else 1 / 255
    mean, std = options.mean, options.std
    if not known:
        mean, std = (_IMAGENET_MEAN, _IMAGENET_STD) if count == 3 else ((0.0,), (1.0,))
        what = "ImageNet mean and std" if count == 3 else "0 to 1"
        notes.append(f"pixels are guessed to be normalised to {what} (--scale, --mean, --std)")
    return scale, _per_channel("mean", mean, 0.0, count), _per_channel("std", std, 1.0, count)


def _per_channel(
    name: str, values: Sequence[float] | None, default: float, count: int
) -> tuple[float, ...]:
    found = tuple(values) if values is not None else (default,) * count
    found = found * count if len(found) == 1 else found
    if len(found) != count or (name == "std" and any(v == 0 for v in found)):
        raise OptionError(f"has {list(found)}; the input has {count} channels.", where=f"--{name}")
    return found
