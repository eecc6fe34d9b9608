"""Hugging Face's ``preprocessor_config.json`` in Sprat's terms."""

from __future__ import annotations

from typing import Any

#: Pillow's numbers for its filters.
_RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
#: From this side on, ConvNeXt's processor stretches instead of cropping by ``crop_pct``.
_STRETCHED_FROM = 384


def translate(content: dict[str, Any]) -> dict[str, Any]:
    """Say in options what an image processor's configuration says.

    Keys are those of ``transformers.BaseImageProcessor``; a size in a form that has no counterpart
    here (such as ``longest_edge``) is left out and so guessed later.

    Args:
        content: The file's object.

    Returns:
        Fields of :class:`~sprat.data.options.DataOptions`, not validated.
    """
    found: dict[str, Any] = {}
    crops = bool(content.get("do_center_crop", False))
    if content.get("do_resize", True):
        found |= _size(content.get("size"), content.get("crop_pct"), crops)
    if crops and "crop" not in found:
        crop = _pair(content.get("crop_size"))
        found |= {"crop": crop} if crop else {}
    rescales = content.get("do_rescale", True)
    factor = content.get("rescale_factor")
    found["scale"] = (1 / 255 if factor is None else factor) if rescales else 1.0
    if content.get("do_normalize", True) and content.get("image_mean") is not None:
        found["mean"] = content["image_mean"]
        found["std"] = content.get("image_std")
    filter_number = content.get("resample")
    if isinstance(filter_number, int) and filter_number in _RESAMPLE:
        found["interpolation"] = _RESAMPLE[filter_number]
    if content.get("do_flip_channel_order", False):
        found["channels"] = "bgr"
    return found


def _size(size: Any, crop_share: Any, crops: bool) -> dict[str, Any]:
    if isinstance(size, dict) and isinstance(size.get("shortest_edge"), int):
        edge = size["shortest_edge"]
    elif isinstance(size, int) and crops:
        edge = size  # older files: a lone number before a crop is the shortest edge
    else:
        pair = _pair(size)
        return {"size": pair, "resize": "stretch"} if pair else {}
    if not isinstance(crop_share, int | float) or not 0 < crop_share <= 1:
        return {"size": (edge, edge), "resize": "shortest"}
    if edge >= _STRETCHED_FROM:
        return {"size": (edge, edge), "resize": "stretch"}
    whole = int(edge / crop_share)
    return {"size": (whole, whole), "resize": "shortest", "crop": (edge, edge)}


def _pair(size: Any) -> tuple[Any, Any] | None:
    if isinstance(size, int):
        return size, size
    if isinstance(size, dict) and {"height", "width"} <= set(size):
        return size["height"], size["width"]
    return None
