"""``sprat tune``: real trials by several workers, one of them killed; broken off, gone on with."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from sprat.distillation.configs import Recipe, Student
from sprat.record.history import read
from sprat.record.run import load_run
from sprat.record.schema import Run
from sprat.workflow.tune import tune
from tests.servers import postgres, postgres_tools

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "doodles"
MODEL, DATA = EXAMPLE / "doodles.onnx", EXAMPLE / "data"
TOOLS = postgres_tools()
NETS = """
import os
from torch import nn

class Small(nn.Module):
    def __init__(self, columns, channels):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        )
        self.head = nn.Linear(16, columns)
        self.calls = 0

    def forward(self, x):
        self.calls += self.training
        # The first worker that comes so far in a trial is killed there, and no other.
        if os.environ.get("KILL_ONCE") and self.calls == 4:
            try:
                os.close(os.open(os.environ["KILL_ONCE"], os.O_CREAT | os.O_EXCL))
                os.kill(os.getpid(), 9)
            except FileExistsError:
                pass
        return self.head(self.body(x).mean((2, 3)))

def small(*, columns, channels, size):
    return Small(columns, channels)
"""
SMALL = Student("tune_nets:small")
#: Two steps an epoch.
FAST = Recipe(epochs=3, batch=32, ema=0.0)
SPACE = {"rate": "0.01:0.1", "size": "32,16", "bits": "2:6"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a folder with a network of the user's own, on one core."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPRAT_THREADS", "1")
    (tmp_path / "tune_nets.py").write_text(NETS)
    return tmp_path


def search(here: Path, out: str, **more: Any) -> Run:
    options = {"student": SMALL, "recipe": FAST, "space": SPACE, "limit": 64, "max_drop": 50}
    return tune(MODEL, DATA, here / out, **{**options, **more})


def words(out: str, *more: object) -> list[str]:
    """Return the same search as a command line."""
    return [
        *(sys.executable, "-m", "sprat", "tune", str(MODEL), "--data", str(DATA), "--out", out),
        *("--student", SMALL.name, "--epochs", "3", "--batch", "32", "--ema", "0"),
        *("--rate", "0.01:0.1", "--student-size", "32,16", "--bits-per-weight", "2:6"),
        *("--limit", "64", "--max-drop", "50", *map(str, more)),
    ]


def check(run: Run, wanted: int) -> None:
    """Hold a record against itself: all trials accounted for, and a front that is one."""
    tuned = run.tuning
    assert tuned is not None
    assert len(tuned.trials) == tuned.wanted == wanted
    assert {t.state for t in tuned.trials} <= {"complete", "pruned"}
    tried = {f"trial-{t.number}" for t in tuned.trials if t.state == "complete"}
    assert {c.name for c in run.candidates} == tried
    points = {
        int(c.name.removeprefix("trial-")): (c.wire.brotli, -c.evaluation.model)
        for c in run.candidates
        if c.wire is not None and c.evaluation is not None
    }
    for number, (size, lost) in points.items():
        beaten = any(s <= size and x <= lost and (s, x) != (size, lost) for s, x in points.values())
        assert (number in tuned.front) <= (not beaten)
        assert beaten or any(points[n] == (size, lost) for n in tuned.front)
    assert run.choice.candidate == f"trial-{tuned.best}"
    assert run.choice.test is None


@pytest.mark.parametrize(
    ("server", "trials"),
    [
        pytest.param(
            "postgres",
            20,
            marks=pytest.mark.skipif(TOOLS is None, reason="needs PostgreSQL's initdb and pg_ctl"),
        ),
        ("sqlite", 6),
    ],
)
def test_two_workers_on_one_study_one_is_killed(
    here: Path, monkeypatch: pytest.MonkeyPatch, server: str, trials: int
) -> None:
    study: AbstractContextManager[str] = nullcontext(f"sqlite:///{here / 'own.db'}")
    if server == "postgres":
        assert TOOLS is not None
        study = postgres(TOOLS)
    with study as url:
        command = words("out", "--trials", trials, "--study", url, "--heartbeat", 1)
        monkeypatch.setenv("KILL_ONCE", str(here / "killed"))
        both = subprocess.run(
            [*command, "--workers", "2"], capture_output=True, text=True, check=False
        )
        assert both.returncode == 0, both.stderr
        assert (here / "killed").exists()
        found = load_run(here / "out/run.json")
        check(found, trials)
        assert found.tuning is not None
        attempts = [t.attempts for t in found.tuning.trials]
        assert sorted(attempts)[-2:] == [1, 2]  # one was begun twice, all others once
        (entry,) = read(here / "out")
        assert "ended by -9" in entry.notes
        assert "1 begun again" in entry.notes
        # The same command again: all is known, nothing is tried anew.
        again = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
        assert again.returncode == 0, again.stderr
        assert (
            json.loads(again.stdout)["tuning"]["trials"]
            == json.loads((here / "out/run.json").read_text())["tuning"]["trials"]
        )
        assert [t.attempts for t in load_run(here / "out/run.json").tuning.trials] == attempts
