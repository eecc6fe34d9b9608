"""Complete what is known about the preprocessing by the shape of the model's input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sprat.data.images import MAX_PIXELS, image_size
from sprat.data.options import Channels, DataOptions, Layout
from sprat.data.preprocess import Preprocess
from sprat.errors import OptionError
from sprat.model.inspect import TensorInfo

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_DTYPES = ("float32", "float16", "float64", "uint8")

#: A side that is cut is at most so many times as long as what is kept of it.
_MOST_CUT = 8

Size = tuple[int, int]


def make_preprocess(
    inputs: Sequence[TensorInfo], options: DataOptions, images: Sequence[Path]
) -> tuple[Preprocess, tuple[str, ...]]:
    """Complete what the options say by guesses from the input's shape.

    Args:
        inputs: The model's inputs; exactly one can eat images.
        options: What is known.
        images: All images; their common size counts where neither the options nor the input tell.

    Returns:
        The preprocessing, and each guess in words.

    Raises:
        OptionError: The model does not eat images, an option does not fit it, or the size is not
            known.
        SampleError: An image whose size is asked for is no image.
    """
    tensor = _image_input(inputs)
    notes: list[str] = []
    layout = _layout(tensor, options, notes)
    channels = _channels(tensor, layout, options, notes)
    size, crop = _sizes(tensor, layout, options, images, notes)
    if options.resize is None and options.size is None:
        notes.append(
            f"images of another size than {size[0]} x {size[1]} are scaled by their shortest side "
            "and cut to the centre (guessed: --resize, --size, --crop)"
        )
    count = 1 if channels == "gray" else 3
    scale, mean, std = _normalization(tensor, options, count, notes)
    how = Preprocess(
        input=tensor.name,
        size=size,
        resize=options.resize or ("shortest" if options.size is None else "stretch"),
        crop=None if crop == size else crop,
        channels=channels,
        layout=layout,
        scale=scale,
        mean=mean,
        std=std,
        interpolation=options.interpolation or "bilinear",
        dtype=tensor.dtype,
        pad=options.pad or 0,
    )
    return how, tuple(notes) or ("the preprocessing is as the options say; nothing was guessed",)


def _image_input(inputs: Sequence[TensorInfo]) -> TensorInfo:
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].dtype not in _DTYPES:
        shown = ", ".join(f"{t.name} {t.dtype}{list(t.shape)}" for t in inputs)
        raise OptionError(
            f"the model does not eat images: its inputs are {shown or 'none'}.",
            where="--data",
            hint="Give ready tensors as .npz, named by the inputs, or package.module:function.",
        )
    return inputs[0]


def _layout(tensor: TensorInfo, options: DataOptions, notes: list[str]) -> Layout:
    if options.layout is not None:
        return options.layout
    last = tensor.shape[3] in (1, 3) and tensor.shape[1] not in (1, 3)
    layout: Layout = "nhwc" if last else "nchw"
    notes.append(f"layout {layout} is guessed from the input {list(tensor.shape)} (--layout)")
    return layout


def _channels(
    tensor: TensorInfo, layout: Layout, options: DataOptions, notes: list[str]
) -> Channels:
    depth = tensor.shape[3] if layout == "nhwc" else tensor.shape[1]
    guess: Channels = "gray" if depth == 1 else "rgb"
    channels = options.channels or guess
    count = 1 if channels == "gray" else 3
    if isinstance(depth, int) and depth > 0 and depth != count:
        raise OptionError(
            f"input {tensor.name!r} wants {depth} channels, {channels} has {count}.",
            where="--channels",
            hint="Set --channels or --layout.",
        )
    if options.channels is None:
        notes.append(f"channels {channels} are guessed from the input's depth (--channels)")
    return channels


def _sizes(
    tensor: TensorInfo,
    layout: Layout,
    options: DataOptions,
    images: Sequence[Path],
    notes: list[str],
) -> tuple[Size, Size]:
    """Return the size to resize to and the size after the crop."""
    wanted = tensor.shape[1:3] if layout == "nhwc" else tensor.shape[2:4]
    fixed = [side if isinstance(side, int) and side > 0 else None for side in wanted]
    whole = (fixed[0], fixed[1]) if fixed[0] and fixed[1] else None
    size = options.size or (whole if options.crop is None else None)
    if size is None:
        size = _common_size(tensor, images)
        notes.append(f"all images have {size[0]} x {size[1]} pixels: taken as the size (--size)")
    crop = options.crop or size
    if options.crop is None and whole and whole != size and _inside(whole, size):
        crop = whole
        notes.append(f"images are cut to the input's {whole[0]} x {whole[1]} (--crop)")
    _check_effort(size, crop)
    if not _inside(crop, size):
        raise OptionError(
            f"{crop[0]} x {crop[1]} is larger than the size {size[0]} x {size[1]}.", where="--crop"
        )
    if any(want is not None and want != got for want, got in zip(fixed, crop, strict=True)):
        raise OptionError(
            f"images become {crop[0]} x {crop[1]}, input {tensor.name!r} wants "
            f"{' x '.join(str(side) for side in wanted)}.",
            where="--size",
            hint="Set --size and --crop to fit.",
        )
    return size, crop


def _check_effort(size: Size, crop: Size) -> None:
    """Refuse a size that costs gigabytes and seconds an image, most of them for nothing."""
    if size[0] * size[1] > MAX_PIXELS:
        raise OptionError(
            f"{size[0]} x {size[1]} are {size[0] * size[1]:,} pixels; at most {MAX_PIXELS:,} are "
            "computed.",
            where="--size",
            hint="Give the size that the model was trained with.",
        )
    if any(whole > _MOST_CUT * part for whole, part in zip(size, crop, strict=True)):
        raise OptionError(
            f"images would become {size[0]} x {size[1]}, and {crop[0]} x {crop[1]} of that would "
            f"be kept: less than a {_MOST_CUT}th of a side.",
            where="--size",
            hint="Set --size and --crop to what the model was trained with.",
        )


def _inside(inner: Size, outer: Size) -> bool:
    return inner[0] <= outer[0] and inner[1] <= outer[1]


def _common_size(tensor: TensorInfo, images: Sequence[Path]) -> Size:
    first = image_size(images[0])
    other = next((p for p in images if image_size(p) != first), None)
    if other is not None:
        raise OptionError(
            f"input {tensor.name!r} has a dynamic size and the images differ: {images[0].name} has "
            f"{first[0]} x {first[1]} pixels, {other.name} another.",
            where="--size",
            hint="Set --size, height x width, such as --size 224x224.",
        )
    return first


def _normalization(
    tensor: TensorInfo, options: DataOptions, count: int, notes: list[str]
) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
    known = any(value is not None for value in (options.scale, options.mean, options.std))
    if tensor.dtype == "uint8":
        notes.append(
            "the input takes uint8: pixels go in as they are"
            + (", scale, mean and std do not apply" if known else "")
        )
        return 1.0, (0.0,) * count, (1.0,) * count
    scale = options.scale if options.scale is not None else 1 / 255
    mean, std = options.mean, options.std
    if not known:
        mean, std = (_IMAGENET_MEAN, _IMAGENET_STD) if count == 3 else ((0.0,), (1.0,))
        what = "by ImageNet's mean and std" if count == 3 else "to 0..1"
        notes.append(f"pixels are normalized {what} (guessed: --scale, --mean, --std)")
    return scale, _per_channel("mean", mean, 0.0, count), _per_channel("std", std, 1.0, count)


def _per_channel(
    name: str, values: Sequence[float] | None, default: float, count: int
) -> tuple[float, ...]:
    found = tuple(values) if values is not None else (default,) * count
    found = found * count if len(found) == 1 else found
    if len(found) != count:
        raise OptionError(
            f"has {len(found)} values; the input has {count} channels.", where=f"--{name}"
        )
    return found
