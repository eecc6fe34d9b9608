r"""Networks of other makers for ``benchmarks.lean``: torchvision's architectures, and PP-OCR.

Usage:
    pip install --no-deps --target MODELS rapidocr-onnxruntime==1.4.4
    python benchmarks/lean_networks.py FOLDER MODELS

Needs torch and torchvision. Torchvision's networks have random weights: time and steps of a
network depend on its architecture, not on its weights; statistics of the normalizations are drawn,
so that folding them is not trivial.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import torch
import torchvision

#: Names and shapes of PP-OCR's networks, by file.
PP_OCR = {
    "ch_ppocr_mobile_v2.0_cls_infer": "PP-OCR classifier@1x3x48x192",
    "ch_PP-OCRv4_det_infer": "PP-OCRv4 detector@1x3x320x320",
    "ch_PP-OCRv4_rec_infer": "PP-OCRv4 recognizer@1x3x48x320",
}


def randomized(model: Any) -> Any:
    """Give every normalization statistics that matter, and a transformer a head that is not 0."""
    if isinstance(model, torchvision.models.VisionTransformer):
        torch.nn.init.normal_(model.heads.head.weight, std=0.05)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.8, 1.2)
            module.bias.data.normal_(0, 0.1)
    return model.eval()


def main() -> None:
    torch.manual_seed(0)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    models = torchvision.models
    made = {
        "MobileNetV3-Small": models.mobilenet_v3_small(),
        "MobileNetV2": models.mobilenet_v2(),
        "EfficientNet-B0": models.efficientnet_b0(),
        "vision transformer, 4 layers of 192": models.VisionTransformer(224, 32, 4, 4, 192, 768),
    }
    for name, model in made.items():
        torch.onnx.export(
            randomized(model),
            (torch.randn(1, 3, 224, 224),),
            folder / f"{name}.onnx",
            dynamo=False,
            opset_version=17,
            input_names=["input"],
            output_names=["output"],
        )
    for path in Path(sys.argv[2]).rglob("*.onnx"):
        if path.stem in PP_OCR:
            shutil.copy(path, folder / f"{PP_OCR[path.stem]}.onnx")


if __name__ == "__main__":
    main()
