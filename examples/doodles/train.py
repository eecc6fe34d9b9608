"""Train the example's classifier from scratch on doodles, and export it with its BatchNorm.

Usage:
    pip install torch==2.13.0 onnx onnxruntime onnxscript pillow numpy
    python examples/doodles/train.py --data DOODLES --out examples/doodles/doodles.onnx

``DOODLES`` has ``train/`` and ``val/``, each with ``fish/`` and ``not_fish/``. Five minutes on
one core. The export keeps BatchNorm unfolded, as many exports in the wild do.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

SIZE = 64
EPOCHS = 24
BATCH = 64
CLASSES = ("fish", "not_fish")


class Block(nn.Module):  # type: ignore[misc]  # torch is not installed here
    """Two 3x3 convolutions with a shortcut (He et al. 2015)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.short: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.short = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, inputs, H, W]`` to ``[N, outputs, H / stride, W / stride]``."""
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(y + self.short(x))


class Doodles(nn.Module):  # type: ignore[misc]  # torch is not installed here
    """A narrow ResNet: ``[N, 1, 64, 64]`` to one logit, positive means *not_fish*."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.blocks = nn.Sequential(
            Block(width, width, 1),
            Block(width, 2 * width, 2),
            Block(2 * width, 4 * width, 2),
            Block(4 * width, 4 * width, 1),
        )
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(4 * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, 1, 64, 64]`` to ``[N, 1]``."""
        y = self.blocks(functional.relu(self.bn(self.stem(x))))
        out: Tensor = self.head(self.drop(y.mean((2, 3))))
        return out


def read(folder: Path) -> tuple[Tensor, Tensor]:
    """Read a split as ``[N, 1, 64, 64]`` in -1 to 1 and labels ``[N]`` (0 fish, 1 not_fish)."""
    images, labels = [], []
    for label, name in enumerate(CLASSES):
        for path in sorted((folder / name).glob("*.png")):
            with Image.open(path) as image:
                grey = image.convert("L").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
            images.append(np.asarray(grey, dtype=np.float32) / 127.5 - 1)
            labels.append(label)
    return torch.from_numpy(np.stack(images))[:, None], torch.tensor(labels, dtype=torch.float32)


def augment(x: Tensor, generator: torch.Generator) -> Tensor:
    """Turn, scale, shift and mirror each drawing a little: what keeps a doodle's meaning."""
    count = len(x)
    angle = (torch.rand(count, generator=generator) - 0.5) * 0.5
    scale = 1 + (torch.rand(count, generator=generator) - 0.5) * 0.3
    mirror = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    shift = (torch.rand(count, 2, generator=generator) - 0.5) * 0.2
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    top = torch.stack([cos * mirror, -sin, shift[:, 0]], 1)
    low = torch.stack([sin * mirror, cos, shift[:, 1]], 1)
    grid = functional.affine_grid(torch.stack([top, low], 1), list(x.shape), align_corners=False)
    return functional.grid_sample(x - 1, grid, align_corners=False) + 1  # white outside


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of right answers."""
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(part) for part in x.split(256)])[:, 0]
    return float(((logits > 0).float() == y).float().mean())


def train(x: Tensor, y: Tensor, val: tuple[Tensor, Tensor]) -> nn.Module:
    """Train with AdamW and a one-cycle schedule."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model = Doodles()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.02)
    steps = (len(x) + BATCH - 1) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, EPOCHS * steps)
    for epoch in range(EPOCHS):
        model.train()
        for part in torch.randperm(len(x), generator=generator).split(BATCH):
            logits = model(augment(x[part], generator))[:, 0]
            loss = functional.binary_cross_entropy_with_logits(logits, y[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}/{EPOCHS}: val {accuracy(model, *val):.2%}", flush=True)
    return model.eval()


def export(model: nn.Module, path: Path, sample: Tensor) -> None:
    """Write ONNX at opset 17 and check it against torch."""
    torch.onnx.export(
        model,
        (sample[:2],),
        str(path),
        dynamo=False,
        opset_version=17,
        input_names=["input"],
        output_names=["output"],
        dynamic_axes={"input": {0: "batch_size"}, "output": {0: "batch_size"}},
        do_constant_folding=False,
        training=torch.onnx.TrainingMode.PRESERVE,
    )
    with torch.no_grad():
        wanted = model(sample).numpy()
    got = ort.InferenceSession(str(path)).run(None, {"input": sample.numpy()})[0]
    difference = float(np.abs(got - wanted).max())
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    print(f"{path}: {path.stat().st_size:,} bytes, {kinds.count('BatchNormalization')} BatchNorm")
    if difference > 1e-4:
        raise SystemExit(f"the export differs from torch by {difference:.1e}")


def main() -> None:
    """Train, report, export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    val = read(options.data / "val")
    model = train(*read(options.data / "train"), val)
    print(f"parameters: {sum(p.numel() for p in model.parameters()):,}")
    print(f"val: {accuracy(model, *val):.2%}")
    export(model, options.out, val[0][:16])


if __name__ == "__main__":
    main()
