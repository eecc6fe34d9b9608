"""What a verdict shows and what it does not: intervals, and the drop in a browser."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

import sprat.workflow.verify as verifying
from sprat.browser.types import Loading, Proof
from sprat.evaluate.types import Evaluation, Interval, OutputDistance, Speed
from sprat.model.load import load, save
from sprat.model.session import open_session, run
from sprat.quantization.configs import Weights
from sprat.quantization.quantize import quantize
from sprat.workflow.confidence import (
    browser_drop,
    doubt_of_browser,
    doubt_of_drop,
    doubt_of_speed,
)
from sprat.workflow.verify import verify
from tests.networks import mlp


def shifted(folder: Path, by: float) -> tuple[Path, Path, Path]:
    """Write a model, a quantized one whose biases are shifted, and labelled samples."""
    original = mlp()
    x = np.random.default_rng(0).standard_normal((400, 32)).astype(np.float32)
    y = run(open_session(original), {"x": x})["y"]
    np.savez(folder / "data.npz", x=x, labels=np.asarray(y).argmax(axis=1))
    other = load(save(original, folder / "model.onnx"))
    for tensor in other.graph.initializer:
        if tensor.name == "b1":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + by, "b1"))
    small = quantize(other, Weights(), [])
    return folder / "model.onnx", save(small, folder / "small.onnx"), folder / "data.npz"


@pytest.fixture
def doubtful(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Models of which one loses a little, on few samples."""
    return shifted(tmp_path, 0.02)


def test_a_bar_inside_the_interval_is_held_and_not_shown(
    doubtful: tuple[Path, Path, Path],
) -> None:
    original, small, data = doubtful
    e = verify(small, original, data, max_drop=100).comparison.evaluation
    assert e.interval.high > e.drop >= 0
    bar = (e.drop + e.interval.high) / 2
    verdict = verify(small, original, data, max_drop=bar)
    assert verdict.holds
    needed = 4 * e.samples
    assert verdict.checks[0].doubt.startswith("held, not shown: about ")
    assert verdict.checks[0].doubt.endswith(" samples would settle it")
    told = int(verdict.checks[0].doubt.split()[4].replace(",", ""))
    assert needed <= told <= 1.1 * needed + 1
    assert not verify(small, original, data, max_drop=bar, confident=True).holds
    sure = verify(small, original, data, max_drop=e.interval.high + 0.1, confident=True)
    assert sure.holds
    assert sure.checks[0].doubt == ""


def test_the_command_line_tells_what_is_not_shown(doubtful: tuple[Path, Path, Path]) -> None:
    original, small, data = doubtful
    e = verify(small, original, data, max_drop=100).comparison.evaluation
    bar = (e.drop + e.interval.high) / 2
    command = [
        *(sys.executable, "-m", "sprat", "verify", str(small), "--reference", str(original)),
        *("--data", str(data), "--max-drop", str(bar)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    flat = " ".join(done.stdout.split())
    assert "All bars are held, but not shown by these samples: accuracy" in flat
    sure = subprocess.run(
        [*command, "--confident", "--json"], capture_output=True, text=True, check=False
    )
    assert sure.returncode == 1
    check = json.loads(sure.stdout)["checks"][0]
    assert (check["holds"], check["doubt"][:15]) == (False, "held, not shown")


@given(
    drop=st.floats(-5, 5), width=st.floats(0.01, 10), bar=st.floats(0, 10), n=st.integers(2, 10**5)
)
def test_the_samples_that_are_asked_for_would_settle_it(
    drop: float, width: float, bar: float, n: int
) -> None:
    said = doubt_of_drop(drop, Interval(drop - width, drop + width), n, bar)
    assert bool(said) == (drop <= bar < drop + width)
    if "about" in said:
        needed = int(said.split()[4].replace(",", ""))
        assert needed >= n
        assert drop + width * (n / needed) ** 0.5 <= bar + 1e-6
    elif said:
        assert "too near the bar" in said


def test_a_time_whose_slow_rounds_miss_the_bar_is_not_shown() -> None:
    speed = Speed(0.9, Interval(0.8, 1.1), 1.0, 0.9, 10, 1)
    assert doubt_of_speed(speed, 1.0) == (
        "held, not shown: a tenth of the rounds take 1.10 or more"
    )
    assert doubt_of_speed(speed, 1.2) == doubt_of_speed(speed, 0.8) == ""
    assert doubt_of_speed(speed, None) == ""


def test_the_drop_in_a_browser_is_natives_on_all_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The browser answers a few samples as native does: those alone must not decide."""
    original, small, data = shifted(tmp_path, 0.2)
    whole = verify(small, original, data, max_drop=100).comparison.evaluation
    monkeypatch.setattr(verifying, "SAMPLES", 24)
    verdict = verify(small, original, data, max_drop=100, max_browser_drop=100)
    assert verdict.proof is not None
    few = verdict.proof.against_original
    assert few is not None
    assert few.samples == 24
    assert few.drop != whole.drop  # the few samples alone would say something else
    bar = (few.drop + whole.drop) / 2
    held = verify(small, original, data, max_drop=100, max_browser_drop=bar)
    check: Any = next(check for check in held.checks if check.name == "accuracy in it")
    assert check.holds == (whole.drop <= bar)
    assert f"drop {whole.drop:+.2f} points" in check.figure
    assert "0 of them differently" in check.figure


def measured(samples: int, drop: float, half: float, agreement: float = 0.9) -> Evaluation:
    distance = OutputDistance(0.0, 0.0, 99.0, 0.0)
    interval = Interval(drop - half, drop + half)
    return Evaluation("test", samples, "accuracy", 1.0, 0.9, drop, interval, agreement, distance)


def proof(own: Evaluation, web: Evaluation) -> Proof:
    return Proof(
        browser="",
        runtime="",
        isolated=False,
        loading=Loading(loads=True),
        against_native=own,
        against_original=web,
        native_drop=0.5,
    )


def test_a_browser_that_answers_as_native_does_has_natives_interval() -> None:
    native = measured(636, 0.8, 0.5)
    seen = proof(measured(256, 0.0, 1.07, agreement=1.0), measured(256, 0.5, 2.0))
    drop, interval = browser_drop(native, seen)
    assert (drop, interval) == (native.drop, native.interval)
    assert doubt_of_browser(native, seen, 1.4) == ""


@pytest.mark.parametrize(
    ("data", "web", "words", "samples"),
    [(1.5, 0.3, "samples", 636), (0.3, 1.5, "samples in the browser", 256)],
)
def test_the_part_that_is_unsure_is_asked_for(
    data: float, web: float, words: str, samples: int
) -> None:
    native = measured(636, 0.5, data)
    seen = proof(measured(256, 0.0, web), measured(256, 0.5, 2.0))
    said = doubt_of_browser(native, seen, 1.5)
    needed = int(said.split()[4].replace(",", ""))
    assert said == f"held, not shown: about {needed:,} {words} would settle it"
    # 1.5 points falls with the root of the samples until both parts fit in the margin of 1 point.
    assert 1.5 * (samples / needed) ** 0.5 <= (1 - 0.3**2) ** 0.5
    assert needed <= 1.2 * samples * 1.5**2 / (1 - 0.3**2)
