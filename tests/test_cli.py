"""The command line on the real small example: what people type, and what they get wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sprat.model.load import save
from sprat.model.session import Feeds, open_session, run
from tests.metrics import EXACT
from tests.models import images, with_external_data
from tests.networks import cnn, mlp

EXAMPLE = Path(__file__).parents[1] / "examples/doodles"
MODEL, DATA = EXAMPLE / "doodles.onnx", EXAMPLE / "data"


def sprat(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sprat", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def fails(done: subprocess.CompletedProcess[str], code: int, words: str) -> None:
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_help_shows_the_road() -> None:
    shown = sprat("--help").stdout
    for command in ("inspect", "optimize", "verify", "history"):
        assert command in shown
    assert sprat("--version").stdout.startswith("sprat ")


COMMANDS = (
    *("inspect", "simplify", "quantize", "compare", "optimize", "distill", "prove", "try"),
    *("compile", "bundle", "serve", "verify", "history"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_examples(command: str) -> None:
    done = sprat(command, "--help")
    assert done.returncode == 0
    assert "Examples:" in done.stdout
    assert f"sprat {command}" in done.stdout


def test_inspect() -> None:
    done = sprat("inspect", MODEL)
    assert done.returncode == 0
    assert "340,489" in done.stdout
    assert "BatchNormalization" in done.stdout
    found = json.loads(sprat("inspect", MODEL, "--json").stdout)
    assert found["file_bytes"] == MODEL.stat().st_size


def test_a_folder_without_a_log_says_so(tmp_path: Path) -> None:
    fails(sprat("history", tmp_path), 2, "has no log")


def test_simplify_quantize_and_history(tmp_path: Path) -> None:
    clean, small = tmp_path / "clean.onnx", tmp_path / "small.onnx"
    assert "fuse_bn_into_conv" in sprat("simplify", MODEL, "-o", clean).stdout
    done = sprat("quantize", clean, "--method", "weights", "-o", small)
    assert done.returncode == 0
    assert small.stat().st_size < 0.3 * clean.stat().st_size
    shown = sprat("history", tmp_path).stdout
    assert shown.startswith("| date | operation | result | notes |")
    assert "simplify doodles.onnx" in shown
    assert "quantize clean.onnx --method weights" in shown
    assert len(json.loads(sprat("history", tmp_path, "--json").stdout)) == 2
    assert "deadend" in sprat("simplify", "--list").stdout


def test_a_dry_run_says_what_would_be_tried_and_writes_nothing(tmp_path: Path) -> None:
    words = ("optimize", MODEL, "--data", DATA, "--out", tmp_path / "out", "--dry-run")
    done = sprat(*words)
    assert done.returncode == 0, done.stderr
    assert "rate-distortion, weights-int8, float16" in done.stdout
    assert "200 for choice" in done.stdout
    found = json.loads(sprat(*words, "--json").stdout)
    assert found["most_seconds"] == 300
    assert 0 < found["look_seconds"] < found["least_seconds"]
    assert not list(tmp_path.iterdir())


def test_quantize_to_a_rate(tmp_path: Path) -> None:
    out = tmp_path / "small.onnx"
    words = ("quantize", MODEL, "--method", "rate-distortion", "--data", DATA, "-o", out)
    done = sprat(*words, "--bits-per-weight", 2, "--limit", 24, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["model_wire"]["brotli"] < 2.3 * 339_241 / 8 + 12_000
    fails(sprat(*words), 2, "exactly one of")
    fails(sprat(*words, "--max-bytes", 0), 2, "--max-bytes: must be above 0")
    fails(sprat(*words, "--max-drop", "nan"), 2, "--max-drop: must be 0 to 100")
    fails(sprat(*words, "--max-bytes", 9000, "--exclude", "x"), 2, "--exclude")
    plain = ("quantize", MODEL, "--method", "static", "--data", DATA, "-o", out)
    fails(sprat(*plain, "--max-drop", 1), 2, "go with rate-distortion alone")


@pytest.mark.parametrize("limit", [25_000, 90_000])
def test_quantize_to_a_size_uses_what_it_may(limit: int, tmp_path: Path) -> None:
    out = tmp_path / "small.onnx"
    words = ("quantize", MODEL, "--method", "rate-distortion", "--data", DATA, "-o", out)
    done = sprat(*words, "--max-bytes", limit, "--limit", 24, "--json")
    assert done.returncode == 0, done.stderr
    assert 0.8 * limit < json.loads(done.stdout)["model_wire"]["brotli"] <= limit


def test_compare() -> None:
    done = sprat("compare", MODEL, MODEL, "--data", DATA, "--limit", 20, "--json")
    found = json.loads(done.stdout)
    assert found["evaluation"]["agreement"] == 1
    assert found["evaluation"]["drop"] == 0
    assert found["evaluation"]["flips"] == []


def test_an_original_that_stays_is_written_with_the_weights_beside_it(tmp_path: Path) -> None:
    model = with_external_data(tmp_path / "model.onnx")
    (tmp_path / "exact.py").write_text(EXACT)
    np.savez(tmp_path / "data.npz", input=images(80))
    words = ("optimize", model, "--data", "data.npz", "--out", "out", "--metric", "exact:same")
    done = sprat(*words, "--max-drop", 0, "--minutes", 0.1, "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["choice"]["candidate"] == "original", done.stderr
    x: Feeds = {"input": images(4, seed=1)}
    wanted, found = (run(open_session(p), x) for p in (model, tmp_path / "out/model.onnx"))
    assert np.array_equal(wanted["output"], found["output"])


WORTH = """
import numpy as np

def score(outputs, labels):
    return np.full(len(next(iter(outputs.values()))), {})
"""


def test_an_edited_metric_is_asked_again(tmp_path: Path) -> None:
    model = save(mlp(), tmp_path / "mlp.onnx")
    np.savez(tmp_path / "data.npz", x=images(40).reshape(40, -1)[:, :32])
    words = ("optimize", model, "--data", "data.npz", "--out", "out", "--metric", "mine:score")
    found = []
    for worth in (1.0, 0.5):
        (tmp_path / "mine.py").write_text(WORTH.format(worth))
        done = sprat(*words, "--minutes", 0.02, "--json", cwd=tmp_path)
        found.append(json.loads(done.stdout)["choice"]["validation"]["model"])
    assert found == [1.0, 0.5]


def test_nothing_gained_is_an_error(tmp_path: Path) -> None:
    once, twice = tmp_path / "once.onnx", tmp_path / "twice.onnx"
    model = save(mlp(), tmp_path / "mlp.onnx")
    assert sprat("quantize", model, "--method", "weights", "-o", once).returncode == 0
    fails(sprat("quantize", once, "--method", "weights", "-o", twice), 1, "changed nothing")
    assert not twice.exists()


def test_what_people_get_wrong(tmp_path: Path) -> None:
    page = tmp_path / "page.onnx"
    page.write_text("<!doctype html><title>404</title>")
    empty = tmp_path / "empty"
    empty.mkdir()
    fails(sprat("inspect", tmp_path / "no.onnx"), 2, "no such file")
    fails(sprat("inspect", page), 2, "HTML page")
    fails(sprat("compare", MODEL, MODEL, "--data", empty), 2, str(empty))
    fails(sprat("compare", MODEL, MODEL, "--data", tmp_path / "no"), 2, "no")
    fails(sprat("compare", MODEL, MODEL, "--data", DATA, "--size", "big"), 2, "--size")
    fails(sprat("quantize", MODEL, "--method", "static", "-o", tmp_path / "x.onnx"), 2, "--data")
    fails(sprat("simplify", MODEL), 2, "-o OUT")
    fails(sprat("optimize", MODEL, "--data", DATA, "-o", tmp_path, "--max-drop", -1), 2, "max-drop")
    fails(sprat("verify", empty, "--reference", MODEL, "--data", DATA), 2, "model.onnx")
    other = save(cnn(), tmp_path / "cnn.onnx")
    fails(sprat("compare", MODEL, other, "--data", DATA, "--limit", 8), 2, "")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    fails(sprat("simplify", MODEL, "-o", blocked / "out.onnx"), 2, "is a file")


def test_wrong_class_order_is_said(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("not_fish\nfish\n")
    done = sprat("compare", MODEL, MODEL, "--data", DATA, "--labels", labels, "--limit", 40)
    assert "class order is probably wrong" in done.stderr
    done = sprat("compare", MODEL, MODEL, "--data", DATA, "--scale", 0.00001, "--limit", 40)
    assert "preprocessing is probably wrong" in done.stderr
