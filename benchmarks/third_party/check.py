"""What the original models say of the data: proof that the data suits them."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

from benchmarks.third_party.file_types import INPUT
from benchmarks.third_party.text_lines import DIRECTIONS

_BATCH = 32


def check_direction(folder: Path, model: Path) -> str:
    """Return the accuracy on val and test, in words."""
    said = []
    for split in ("val", "test"):
        right = total = 0
        for label, name in enumerate(DIRECTIONS):
            answers = _run(model, sorted((folder / split / name).glob("*.png"))).argmax(axis=1)
            right += int((answers == label).sum())
            total += len(answers)
        said.append(f"{split} {right} of {total} right, {right / total:.2%}")
    return "; ".join(said)


def check_recognizer(folder: Path, model: Path) -> str:
    """Return how well the text is read, in words."""
    lines = folder.with_name(f"{folder.name}.texts.tsv").read_text(encoding="utf-8").splitlines()
    texts = dict(line.split("\t") for line in lines)
    characters = _session(model).get_modelmeta().custom_metadata_map["character"].splitlines()
    alphabet = ["", *characters, " "]  # the first is CTC's blank
    answers = _run(model, [folder / name for name in texts]).argmax(axis=2)
    read = ["".join(alphabet[i] for i, _ in itertools.groupby(row)) for row in answers]
    pairs = [
        (a.replace(" ", ""), b.replace(" ", "")) for a, b in zip(read, texts.values(), strict=True)
    ]
    same = sum(a == b for a, b in pairs)
    close = np.mean([SequenceMatcher(None, a, b, autojunk=False).ratio() for a, b in pairs])
    return f"{same} of {len(pairs)} lines read exactly, character similarity {close:.3f}"


def check_magika(folder: Path, model: Path) -> str:
    """Return the most frequent answers and how sure they are, in words."""
    labels = json.loads(model.with_name("config.min.json").read_text(encoding="utf-8"))
    rows = np.concatenate([np.load(folder / f"{s}.npz")[INPUT] for s in ("train", "val", "test")])
    session = _session(model)
    parts = [
        session.run(None, {INPUT: rows[i : i + _BATCH]})[0] for i in range(0, len(rows), _BATCH)
    ]
    scores = np.concatenate(parts)
    counts = Counter(labels["target_labels_space"][i] for i in scores.argmax(axis=1))
    common = ", ".join(f"{name} {count}" for name, count in counts.most_common(12))
    sure = float((scores.max(axis=1) > 0.9).mean())
    return f"{len(rows)} samples, {len(counts)} types, {sure:.0%} surer than 0.9: {common} …"


def _run(model: Path, images: list[Path]) -> NDArray[np.float32]:
    session = _session(model)
    name = session.get_inputs()[0].name
    parts = []
    for i in range(0, len(images), _BATCH):
        batch = np.stack([np.asarray(Image.open(path)) for path in images[i : i + _BATCH]])
        values = (batch[..., ::-1].astype(np.float32) / 255 - 0.5) / 0.5
        parts.append(session.run(None, {name: values.transpose(0, 3, 1, 2)})[0])
    answers: NDArray[np.float32] = np.concatenate(parts)
    return answers


def _session(model: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
