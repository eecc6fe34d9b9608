"""Options that cannot be, on the real command line: each is one error that names the option."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import sprat
from sprat.cli.app import app
from sprat.errors import DataNotFoundError, InputError, NoGainError, OptionError, SpratError
from sprat.model.load import save
from sprat.workflow.step import quantize_file
from tests import models
from tests.metrics import EXACT

EXAMPLE = Path(__file__).parents[1] / "examples/doodles"
MODEL, DATA = EXAMPLE / "doodles.onnx", EXAMPLE / "data"


def refused(command: str, kind: type[SpratError] = OptionError, **places: object) -> SpratError:
    """Run a command that must be refused, with places for its words in capitals."""
    named = {"MODEL": MODEL, "DATA": DATA, **places}
    words = [str(named.get(word, word)) for word in command.split()]
    with pytest.raises(kind) as caught:
        CliRunner().invoke(app, words, catch_exceptions=False)
    return caught.value


WRONG = [
    ("bundle MODEL --out OUT --host heroku", "--host", "nginx, caddy, got 'heroku'"),
    ("bundle MODEL --out OUT --chunk lots", "--chunk", "a size such as 256KiB, got 'lots'"),
    ("bundle MODEL --out OUT --chunk 0KiB", "--chunk", "a size such as 256KiB, got '0KiB'"),
    ("bundle MODEL --out OUT --size 28x28", "--size", "needs --data"),
    ("bundle MODEL --out OUT --output-kind logit", "--output-kind", "needs --data"),
    ("bundle MODEL --out OUT --runtime ort --then MODEL", "--then", "--runtime lean or auto"),
    ("compile MODEL -o OUT --shape 1x3x64x64", "--shape", "NAME=1x3x224x224, got '1x3x64x64'"),
    ("compile MODEL -o OUT --shape =1x3", "--shape", "NAME=1x3x224x224, got '=1x3'"),
    ("quantize MODEL -o OUT --method rate-distortion --data DATA --bits-per-weight 9",
     "--bits-per-weight", "above 0 and at most 8, got 9"),
    ("optimize MODEL --data DATA --out OUT --minutes 0", "--minutes", "number above 0, got 0"),
    ("optimize MODEL --data DATA --out OUT --minutes inf", "--minutes",
     "finite number above 0, got inf"),
    ("optimize MODEL --data DATA --out OUT --preview 0", "--preview", "above 0 bytes, got 0"),
    ("prove MODEL --networks 10,0.01", "--networks", "from 0.05 to 10000, got 0.01"),
    ("verify MODEL --reference MODEL --data DATA --max-drop 101", "--max-drop",
     "0 to 100 points, got 101"),
    ("verify MODEL --reference MODEL --data DATA --max-browser-drop -1", "--max-browser-drop",
     "0 to 100 points, got -1"),
    ("verify MODEL --reference MODEL --data DATA --max-bytes 0", "--max-bytes",
     "above 0, got 0"),
    ("verify MODEL --reference MODEL --data DATA --max-time-ratio nan", "--max-time-ratio",
     "a number above 0, got nan"),
    ("verify MODEL --reference MODEL --data DATA --max-first-prediction 3@0",
     "--max-first-prediction", "above 0, got 0"),
    ("verify MODEL --reference MODEL --data DATA --max-first-prediction 3",
     "--max-first-prediction", "SECONDS@MBPS such as 3.0@10, got '3'"),
    ("distill MODEL --data DATA --out OUT --student-size 8x8x8", "--student-size",
     "HEIGHTxWIDTH such as 96x64, or one number for both, got '8x8x8'"),
    ("tune MODEL --data DATA --out OUT --max-drop 101", "--max-drop",
     "0 to 100 points, got 101"),
    ("tune MODEL --data DATA --out OUT --limit 8 --student-size 64,8x8x8", "--student-size",
     "HEIGHTxWIDTH such as 96x64, or one number for both, got '8x8x8'"),
    ("tune MODEL --data DATA --out OUT --limit 8 --student-size wide", "--student-size",
     "HEIGHTxWIDTH such as 96x64, or one number for both, got 'wide'"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "where", "what"), WRONG, ids=[case[0] for case in WRONG])
def test_a_value_that_cannot_be(command: str, where: str, what: str, tmp_path: Path) -> None:
    error = refused(command, OUT=tmp_path / "out")
    assert error.where == where
    assert what in error.what
    assert error.exit_code == 2
    assert not list(tmp_path.rglob("*.onnx"))


HELPED = [
    ("bundle MODEL --out OUT --runtime ort --prefix /fish", OptionError, "--prefix",
     "settings of a host", "Give --host"),
    ("compare MODEL MODEL --data DATA --limit 8 --metric recall", OptionError,
     "metric 'recall'", "names no function", "package.module:function"),
    ("serve OUT --no-open", DataNotFoundError, "OUT", "is no bundle", "sprat bundle MODEL"),
    ("distill MODEL --data DATA --out OUT", OptionError, "sprat.toml",
     "has a value 'distill'; it must be a table", "Write [distill] on a line of its own"),
    ("try MODEL --reference TENSORS_MODEL --data TENSORS --no-open", OptionError, "--data",
     "draws images, and these samples are none", "Give a folder or a CSV of images"),
    ("try PAIRS --reference PAIRS --data DATA --size 16x16 --no-open", OptionError, "PAIRS",
     "takes 2 images at once", "Export it with a batch of 1"),
    ("quantize TENSORS_MODEL -o OUT --method rate-distortion --data TENSORS --max-drop 0 "
     "--metric options_exact:same", NoGainError, "--max-drop",
     "nothing that was tried loses 0 points or less", "Allow more points"),
    ("quantize TENSORS_MODEL -o OUT --method rate-distortion --data FEW --max-drop 1", OptionError,
     "--data", "needs at least 4 calibration batches, got 2", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "kind", "where", "what", "hint"), HELPED, ids=[case[0] for case in HELPED]
)
def test_what_is_refused_says_what_to_do(
    command: str,
    kind: type[SpratError],
    where: str,
    what: str,
    hint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sprat.toml").write_text("distill = 3\n" if command.startswith("distill") else "")
    (tmp_path / "options_exact.py").write_text(EXACT)
    rows = models.images(24).reshape(24, -1)[:, :32]
    np.savez(tmp_path / "tensors.npz", input=rows)
    np.savez(tmp_path / "few.npz", input=rows[:3])
    pairs = models.one_logit_cnn()
    for value in (*pairs.graph.input, *pairs.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2
    places = {
        "OUT": tmp_path / "out.onnx",
        "TENSORS": tmp_path / "tensors.npz",
        "FEW": tmp_path / "few.npz",
        "TENSORS_MODEL": save(models.mlp(hidden=8), tmp_path / "mlp.onnx"),
        "PAIRS": save(pairs, tmp_path / "pairs.onnx"),
    }
    error = refused(command, kind, **places)
    assert error.where == str(places.get(where, where))
    assert what in error.what
    assert hint in error.hint
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda out: quantize_file(MODEL, out, "int4"),
         "--method: must be one of dynamic, static, weights, float16, rate-distortion, got 'int4'"),
        (lambda _: sprat.compare(MODEL, MODEL, DATA, split="train", limit=8),  # type: ignore[arg-type]
         "--split: must be val or test, got 'train'"),
        (lambda _: sprat.prove(MODEL, plan=sprat.Plan(samples=0)),
         "--samples: must be at least 1, got 0"),
    ],
    ids=["method", "split", "samples"],
)  # fmt: skip
def test_what_only_python_can_ask_for_is_refused_too(call: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        call(tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


def test_a_fault_of_ours_is_one_message_and_more_if_asked_for(tmp_path: Path) -> None:
    """Of a package that is damaged, for example."""
    script = "import sys; sys.modules['brotli'] = None; from sprat.cli import main; main()"
    words = [sys.executable, "-c", script, "inspect", str(MODEL)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 70
    assert "an unexpected ModuleNotFoundError: import of brotli halted" in done.stderr
    assert "please report it with what SPRAT_DEBUG=1 prints" in done.stderr
    assert "Traceback" not in done.stderr
