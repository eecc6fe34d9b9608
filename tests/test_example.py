"""The example in the repository: what its page says is true, and the README's road works on it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sprat
from sprat.data.dataset import Dataset
from sprat.data.options import read_options
from sprat.data.sources import Data, open_data
from sprat.model.inspect import tensor_infos
from sprat.model.session import open_session, run

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "doodles"
MODEL = EXAMPLE / "doodles.onnx"
DATA = EXAMPLE / "data"


@pytest.fixture(scope="module")
def data() -> Data:
    options = read_options(MODEL, DATA)
    return open_data(DATA, tensor_infos(sprat.load(MODEL)), options=options)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("doodles")
    done = _sprat(
        "optimize", MODEL, "--data", DATA, "--out", out, "--limit", 120, "--max-drop", 5, "--json"
    )
    assert done.returncode == 0, done.stderr
    return out


def _sprat(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sprat", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _right(dataset: Dataset) -> int:
    count = len(dataset.samples)
    logits = run(open_session(MODEL), dataset.batch(range(count)))["output"][:, 0].astype(float)
    labels = np.array([sample.label for sample in dataset.samples])
    return int(((logits > 0) == labels).sum())


@pytest.mark.parametrize("split", ["val", "test"])
def test_its_page_states_the_accuracy_that_the_model_has(data: Data, split: str) -> None:
    page = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    row = re.search(rf"in `data/` \| {split} \| (\d+) \| (\d+) \| ([\d.]+) %", page)
    assert row is not None
    dataset = data.val if split == "val" else data.final
    right, count = _right(dataset), len(dataset.samples)
    assert (right, count) == (int(row[1]), int(row[2]))
    assert f"{100 * right / count:.2f}" == row[3]


def test_its_page_states_the_size_that_the_model_has() -> None:
    page = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    inspection = sprat.inspect(MODEL)
    assert f"{inspection.file_bytes:,} bytes" in page
    assert f"{inspection.operators['BatchNormalization']} BatchNormalization" in page
    assert f"opset {inspection.opset}" in page


def test_its_preprocessing_is_that_of_the_training(data: Data) -> None:
    sample = data.val.samples[0]
    assert sample.path is not None
    with Image.open(sample.path) as image:
        trained = np.asarray(image.convert("L"), dtype=np.float32) / 127.5 - 1
    np.testing.assert_allclose(data.val.batch([0])["input"][0, 0], trained, atol=1e-6)


def test_no_doodle_is_in_two_splits(data: Data) -> None:
    assert data.train is not None and data.test is not None
    digests = [s.digest for part in (data.train, data.val, data.test) for s in part.samples]
    assert len(digests) == len(set(digests)) == 440
    assert data.classes == ("fish", "not_fish")


def test_cleaning_folds_every_batch_normalization() -> None:
    clean = sprat.simplify(sprat.load(MODEL)).model
    assert not [n for n in clean.graph.node if n.op_type == "BatchNormalization"]


def test_optimize_writes_a_model_of_under_a_third_with_its_record_and_report(result: Path) -> None:
    record = json.loads((result / "run.json").read_text(encoding="utf-8"))
    before = record["model"]["wire"]["brotli"]
    after = record["outputs"][0]["wire"]["brotli"]
    assert after < before / 3
    assert record["choice"]["candidate"] != "original"
    assert (result / "report.html").read_text(encoding="utf-8").lstrip().startswith("<!doctype")
    open_session(result / "model.onnx")


def test_a_moment_is_enough_for_one_point_on_the_curve(tmp_path: Path) -> None:
    limits = ("--limit", 60, "--max-drop", 20, "--minutes", 0.01)
    done = _sprat("optimize", MODEL, "--data", DATA, "--out", tmp_path, *limits, "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    tried = [c for c in record["candidates"] if c["outcome"] != "not tried"]
    assert [c["method"] for c in tried] == ["rate-distortion"]
    assert record["choice"]["candidate"] == record["candidates"][0]["name"]


def test_verify_gives_its_verdict_by_exit_code(result: Path) -> None:
    # On 48 doodles one flip is two points: the bar is wide, the code of each verdict is tested.
    judge = ("--reference", MODEL, "--data", DATA, "--limit", 48, "--max-drop", 15)
    assert _sprat("verify", result, *judge).returncode == 0
    assert _sprat("verify", result, *judge, "--max-bytes", 1000).returncode == 1
    missing = _sprat("verify", result / "nowhere.onnx", *judge)
    assert missing.returncode == 2
    assert "Traceback" not in missing.stderr
