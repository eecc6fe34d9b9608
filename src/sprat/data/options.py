"""How data is read: options, ``sprat.toml``, or ``preprocessor_config.json``."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from sprat.errors import OptionError

_TOML = "sprat.toml"
_HUGGING_FACE = "preprocessor_config.json"
_MAX_CONFIG_BYTES = 1 << 20
_TABLES = {"data", "output"}
#: Pillow's numbers for filters, as ``preprocessor_config.json`` writes them.
_RESAMPLE = {0: "nearest", 2: "bilinear", 3: "bicubic"}

Resize = Literal["stretch", "shortest", "letterbox"]
Channels = Literal["rgb", "bgr", "gray"]
Layout = Literal["nchw", "nhwc"]
Interpolation = Literal["nearest", "bilinear", "bicubic"]


class DataOptions(BaseModel):
    """What can be said about data and outputs; what is not said is guessed.

    Attributes:
        size: Height and width that images are brought to.
        resize: ``stretch``, ``shortest`` (keep the shape, then crop) or ``letterbox`` (keep the
            shape, then pad).
        crop: Height and width of a centre crop after resizing.
        channels: ``rgb``, ``bgr`` or ``gray``.
        layout: ``nchw`` or ``nhwc``.
        scale: Factor on pixel values 0 to 255.
        mean: Subtracted after scaling, per channel.
        std: Divided by, per channel.
        interpolation: Filter for resizing.
        labels: File of class names in output order, one a line.
        kind: How the output is read: ``logit``, ``classes``, ``sequence`` or ``vector``.
        name: The output that decides.
        threshold: Above it a logit is class 1.
        metric: Own metric, ``package.module:function``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: tuple[int, int] | None = None
    resize: Resize | None = None
    crop: tuple[int, int] | None = None
    channels: Channels | None = None
    layout: Layout | None = None
    scale: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: Interpolation | None = None
    labels: str | None = None
    kind: Literal["logit", "classes", "sequence", "vector"] | None = None
    name: str | None = None
    threshold: float | None = None
    metric: str | None = None


def read_options(
    model: Path | None, data: Path | None, given: DataOptions | None = None
) -> DataOptions:
    """Gather options: those given first, then ``sprat.toml``, then ``preprocessor_config.json``.

    ``sprat.toml`` is looked for beside the model, in the data folder, and in the current folder;
    the first one found counts.

    Args:
        model: The model's file.
        data: The data's folder or file.
        given: Options that go before all others.

    Returns:
        The options.

    Raises:
        OptionError: A file cannot be read or says something that is not understood.
    """
    folders = [p for p in (model and model.parent, _folder(data), Path()) if p is not None]
    found: dict[str, Any] = {}
    if model is not None and (model.parent / _HUGGING_FACE).is_file():
        found |= _from_hugging_face(model.parent / _HUGGING_FACE)
    for folder in folders:
        if (folder / _TOML).is_file():
            found |= _from_toml(folder / _TOML)
            break
    if given is not None:
        found |= given.model_dump(exclude_none=True)
    return DataOptions(**found)


def _folder(path: Path | None) -> Path | None:
    return None if path is None else path if path.is_dir() else path.parent


def _from_toml(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError as error:
        raise OptionError(f"is not TOML: {error}.", where=str(path)) from error
    unknown = set(content) - _TABLES
    if unknown:
        raise OptionError(
            f"has an unknown table or key {sorted(unknown)[0]!r}; known are [data] and [output].",
            where=str(path),
        )
    merged = {**content.get("data", {}), **content.get("output", {})}
    if isinstance(merged.get("labels"), str):
        merged["labels"] = str(path.parent / merged["labels"])
    return _checked(merged, path)


def _from_hugging_face(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise OptionError(f"is not JSON: {error}.", where=str(path)) from error
    if not isinstance(content, dict):
        raise OptionError("must hold an object.", where=str(path))
    found: dict[str, Any] = {}
    size = content.get("size")
    if content.get("do_resize", True) and size is not None:
        found |= _size(size)
    crop = content.get("crop_size")
    if content.get("do_center_crop", False) and crop is not None:
        found["crop"] = _size(crop)["size"]
    found["scale"] = (
        content.get("rescale_factor", 1 / 255) if content.get("do_rescale", True) else 1
    )
    if content.get("do_normalize", True) and "image_mean" in content:
        found["mean"], found["std"] = content["image_mean"], content.get("image_std", [1, 1, 1])
    if content.get("resample") in _RESAMPLE:
        found["interpolation"] = _RESAMPLE[content["resample"]]
    return _checked(found, path)


def _size(size: Any) -> dict[str, Any]:
    if isinstance(size, int):
        return {"size": (size, size), "resize": "stretch"}
    if isinstance(size, dict) and "shortest_edge" in size:
        return {"size": (size["shortest_edge"], size["shortest_edge"]), "resize": "shortest"}
    if isinstance(size, dict) and {"height", "width"} <= set(size):
        return {"size": (size["height"], size["width"]), "resize": "stretch"}
    return {"size": size}


def _checked(found: dict[str, Any], path: Path) -> dict[str, Any]:
    try:
        return DataOptions(**found).model_dump(exclude_none=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise OptionError(
            f"{key}: {first['msg']}, got {first['input']!r}.", where=str(path)
        ) from error


def _text(path: Path) -> str:
    if path.stat().st_size > _MAX_CONFIG_BYTES:
        raise OptionError("is above 1 MB.", where=str(path))
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"cannot be read: {error}.", where=str(path)) from error
