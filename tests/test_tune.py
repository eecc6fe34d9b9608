"""``sprat tune``: real trials by several workers, one of them killed; broken off, gone on with."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from sprat.cli.app import app
from sprat.data.options import DataOptions, read_table
from sprat.distillation.configs import Recipe, Student
from sprat.errors import OptionError, OutputError, SampleError, TrainingError
from sprat.files import alone_in
from sprat.model.load import load, save
from sprat.model.session import open_session, run
from sprat.progress import silent
from sprat.record.history import read
from sprat.record.run import load_run
from sprat.record.schema import Run, TrialRecord
from sprat.tuning.front import pareto
from sprat.tuning.pruning import Course, is_behind
from sprat.tuning.space import Draw, narrowed, usual_space
from sprat.tuning.tally import Tally
from sprat.workflow.setting import open_setting
from sprat.workflow.trial import quantized
from sprat.workflow.tune import tune
from tests import models
from tests.servers import postgres, postgres_tools
from tests.students import SMALL

TOOLS = postgres_tools()
NETS = (
    SMALL
    + """
import os

def at_step(count):
    if os.environ.get("KILL_ALL"):
        os.kill(os.getpid(), 9)
    # The first worker that comes so far in a trial is killed there, and no other.
    if os.environ.get("KILL_ONCE") and count == 4:
        try:
            os.close(os.open(os.environ["KILL_ONCE"], os.O_CREAT | os.O_EXCL))
            os.kill(os.getpid(), 9)
        except FileExistsError:
            pass

class Ratio(nn.Module):
    # So few bits leave nothing of 'part': zero by zero.
    def __init__(self, columns, channels):
        super().__init__()
        self.body = nn.Conv2d(channels, 32, 3, 2, 1)
        self.head = nn.Linear(32, columns)
        self.part = nn.Linear(32, 64, bias=False)
        self.last = nn.Linear(64, columns, bias=False)

    def forward(self, x):
        x = self.body(x).relu().mean((2, 3))
        part = self.part(x).abs()
        return self.head(x) + 1e-6 * self.last(part / part.sum(1, keepdim=True))

def ratio(*, columns, channels, size):
    return Ratio(columns, channels)
"""
)
STUDENT = Student("tune_nets:small")
#: Two steps an epoch.
FAST = Recipe(epochs=3, batch=32, ema=0.0)
SPACE = {"rate": "0.01:0.1", "size": "16,8", "bits": "2:6"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a folder with a teacher, tinted noise, and a network of the user's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPRAT_THREADS", "1")
    (tmp_path / "tune_nets.py").write_text(NETS)
    teacher = models.cnn_with_batch_norm()
    tints = np.random.default_rng(2).standard_normal((128, 3, 1, 1)).astype(np.float32)
    images = 0.3 * models.images(128, seed=1) + 2 * tints
    labels = run(open_session(teacher), {"input": images})["output"].argmax(1)
    split = np.array(["train", "val"])[np.arange(128) % 2]
    np.savez(tmp_path / "data.npz", input=images, split=split, label=labels)
    save(teacher, tmp_path / "teacher.onnx")
    return tmp_path


def search(here: Path, out: str, data: str = "data.npz", **more: Any) -> Run:
    options = {"student": STUDENT, "recipe": FAST, "space": SPACE, "max_drop": 30, **more}
    return tune(here / "teacher.onnx", here / data, here / out, **options)


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


def test_two_commands_into_one_folder_do_not_mix(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sprat.files._PATIENCE", 0.0)
    with alone_in(here / "out"), pytest.raises(OutputError, match="another run writes here"):
        search(here, "out", trials=1, study=f"sqlite:///{here / 'own.db'}")
    assert not (here / "own.db").exists()


@pytest.mark.parametrize(
    ("server", "trials"),
    [
        pytest.param(
            "postgres",
            20,
            marks=pytest.mark.skipif(TOOLS is None, reason="needs PostgreSQL's initdb and pg_ctl"),
        ),
        ("sqlite", 5),
    ],
)
def test_two_workers_on_one_study_one_is_killed(
    here: Path, monkeypatch: pytest.MonkeyPatch, server: str, trials: int
) -> None:
    study: AbstractContextManager[str] = nullcontext(f"sqlite:///{here / 'own.db'}")
    if server == "postgres":
        assert TOOLS is not None
        study = postgres(TOOLS)
    monkeypatch.setenv("KILL_ONCE", str(here / "killed"))
    with study as url:
        found = search(here, "out", trials=trials, study=url, workers=2, heartbeat=1)
        assert (here / "killed").exists()
        check(found, trials)
        assert load_run(here / "out/run.json") == found
        assert "--study" in found.command  # also where the file is one's own
        assert found.tuning is not None
        attempts = [t.attempts for t in found.tuning.trials]
        assert sorted(attempts)[-2:] == [1, 2]  # one was begun twice, all others once
        (entry,) = read(here / "out")
        assert "ended by -9" in entry.notes
        assert "1 begun again" in entry.notes
        # The same command again: all is known, nothing is tried anew.
        again = search(here, "out", trials=trials, study=url, heartbeat=1)
        assert again.tuning is not None
        assert again.tuning.trials == found.tuning.trials
        assert again.tuning.front == found.tuning.front
    assert not list((here / "out/.work").glob("trial-*"))  # no state of a training is left


def test_all_workers_killed_is_one_error(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KILL_ALL", "1")
    wanted = r"all 2 workers were killed \(worker [12] ended by -9\)"
    with pytest.raises(TrainingError, match=wanted) as caught:
        search(here, "out", trials=2, workers=2)
    assert "The same command goes on; fewer --workers take less memory" in caught.value.hint
    assert not (here / "out/model.onnx").exists()


def test_a_student_that_so_few_bits_destroy_is_a_trial_that_failed(here: Path) -> None:
    wanted = r"1 failed, .*0\.05 bits a weight take most of .* Give so many bits, or more\."
    with pytest.raises(TrainingError, match=wanted):
        search(
            here,
            "out",
            trials=1,
            student=Student("tune_nets:ratio"),
            space={"size": "16", "bits": "0.05", "augment": "none"},
            options=DataOptions(kind="vector"),
        )


def test_broken_off_in_a_trial_it_goes_on_to_the_same_results(here: Path) -> None:
    whole = search(here, "whole", trials=3)
    check(whole, 3)
    done, asked = 0, 0

    def told(tally: Tally) -> None:
        nonlocal done
        done = tally.count("complete")

    def stop() -> bool:
        nonlocal asked
        asked += done == 1
        return asked > 4  # in the training of the second trial

    broken = search(here, "out", trials=3, told=told, stop=stop)
    assert broken.tuning is not None
    assert [t.state for t in broken.tuning.trials] == ["complete", "waiting"]
    assert list((here / "out/.work").glob("trial-*"))
    gone_on = search(here, "out", trials=3)
    check(gone_on, 3)
    assert gone_on.tuning is not None
    assert whole.tuning is not None
    assert [t.attempts for t in gone_on.tuning.trials] == [1, 2, 1]
    assert [t.drawn for t in gone_on.tuning.trials] == [t.drawn for t in whole.tuning.trials]
    assert [t.seed for t in gone_on.tuning.trials] == [t.seed for t in whole.tuning.trials]
    assert [c.sha256 for c in gone_on.candidates] == [c.sha256 for c in whole.candidates]
    assert (here / "out/model.onnx").read_bytes() == (here / "whole/model.onnx").read_bytes()


def test_distill_reads_what_is_written_and_makes_the_student_again(here: Path) -> None:
    found = search(here, "out", trials=2)
    assert found.tuning is not None
    report = (here / "out/report.html").read_text(encoding="utf-8")
    assert "The search over students" in report
    assert "学生模型的搜索" in report
    config = here / "out/sprat.toml"
    table = read_table(config, "distill")
    best = next(t for t in found.tuning.trials if t.number == found.tuning.best)
    assert (table["rate"], table["seed"]) == (best.drawn["rate"], best.seed)
    words = ["teacher.onnx", "--data", "data.npz", "--out", "student", "--config", str(config)]
    done = CliRunner().invoke(app, ["distill", *words, "--max-drop", "100", "--json"])
    assert done.exit_code == 0, done.output
    taught = load_run(here / "student/run.json")
    assert taught.seed == best.seed
    assert taught.distillation is not None
    assert taught.distillation.recipe["temperature"] == best.drawn["temperature"]
    setting = open_setting(here / "teacher.onnx", "data.npz")
    content = quantized(load(here / "student/model.onnx"), setting, table_bits(best), silent)
    assert content == (here / "out/model.onnx").read_bytes()


def table_bits(trial: TrialRecord) -> float:
    bits = trial.drawn["bits"]
    assert isinstance(bits, float)
    return bits


def test_a_search_is_narrowed_by_the_current_folders_toml(here: Path) -> None:
    (here / "sprat.toml").write_text(
        '[tune]\nstudent = "tune_nets:small"\nepochs = 2\nbatch = 32\nema = 0.0\ntrials = 2\n'
        'student-size = [8, 16]\nbits-per-weight = "3:4"\nalpha = 0.75\n'
    )
    words = ["tune", "teacher.onnx", "--data", "data.npz", "--out", "out", "--max-drop", "100"]
    done = CliRunner().invoke(app, [*words, "--trials", "1", "--trust"])
    assert done.exit_code == 0, done.output
    assert "1 trials: 1 complete" in done.output
    found = load_run(here / "out/run.json")
    assert found.tuning is not None
    assert found.tuning.wanted == 1
    assert found.tuning.space == {
        "width": "1",
        "size": "8x8,16x16",
        "temperature": "1:8",
        "alpha": "0.75",
        "rate": "0.001:0.01",
        "augment": "auto,none",
        "bits": "3:4",
    }
    assert "--alpha 0.75" in found.command
    (here / "sprat.toml").write_text("[tune]\nwidht = 1\n")
    with pytest.raises(OptionError, match="unknown key 'widht'"):
        CliRunner().invoke(app, words, catch_exceptions=False)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [('output-kind = "none"', "--output-kind"), ('output = "none"', "none")],
)
def test_the_keys_of_a_table_are_the_flags_of_help(here: Path, line: str, wrong: str) -> None:
    """A value that cannot be is refused as the flag's, so the key was taken for the flag."""
    (here / "sprat.toml").write_text(f"[distill]\n{line}\n")
    words = ["distill", "teacher.onnx", "--data", "data.npz", "--out", "out"]
    done = CliRunner().invoke(app, words)
    said = f"{done.output} {done.exception}"
    assert done.exit_code != 0
    assert "unknown key" not in said
    assert wrong in said
    (here / "sprat.toml").write_text('[distill]\nkind = "classes"\n')
    with pytest.raises(OptionError, match="unknown key 'kind'"):
        CliRunner().invoke(app, words, catch_exceptions=False)


def test_the_test_split_is_never_read(here: Path) -> None:
    pictures = np.random.default_rng(0)
    for split, count in (("train", 40), ("val", 20), ("test", 4)):
        for i in range(count):
            path = here / "pictures" / split / ("a", "b")[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            tint = (pictures.random(3) * 255 * (1 + i % 2) / 2).astype(np.uint8)
            Image.fromarray(np.tile(tint, (16, 16, 1))).save(path)
            if split == "test":
                path.write_bytes(path.read_bytes()[:60])  # whoever looks at it fails
    found = search(here, "out", data="pictures", trials=1, max_drop=100)
    assert found.choice.test is None
    assert {s.name: s.role for s in found.data.splits}["test"] == "not looked at"
    with pytest.raises(SampleError):
        open_setting(here / "teacher.onnx", here / "pictures", split="test")


def test_what_cannot_be_searched(here: Path) -> None:
    for name, text, flag in (
        ("width", "0:1", "width"),
        ("alpha", "1:0", "alpha"),
        ("rate", "fast", "rate"),
        ("bits", "2:3:4", "bits-per-weight"),
        ("size", "9999", "student-size"),
        ("augment", "auto,upside-down", "augment"),
    ):
        with pytest.raises(OptionError, match=f"--{flag}"):
            search(here, "out", space={name: text})
    for none in ({"trials": 0}, {"workers": 0}, {"heartbeat": 0}):
        with pytest.raises(OptionError, match="must be at least 1"):
            search(here, "out", **none)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="must be a URL"):
        search(here, "out", study="study.db")
    with pytest.raises(OptionError, match="cannot be used") as caught:
        search(here, "out", study="postgresql://me:secret@127.0.0.1:1/none")
    assert "secret" not in str(caught.value)
    with pytest.raises(TrainingError, match=r"2 failed, .*no network 'resnet1'"):
        search(here, "out", student=Student("resnet1"), trials=2)


def test_without_optuna_it_says_what_to_install(here: Path) -> None:
    script = (
        "import sys; sys.modules['optuna'] = None; "
        "from sprat.cli import main; sys.argv[0] = 'sprat'; main()"
    )
    words = ["tune", "teacher.onnx", "--data", "data.npz", "--out", "out"]
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "tune needs optuna, which is not installed" in done.stderr
    assert "pip install '.[tune]'" in done.stderr


# the parts


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 5)), max_size=12))
def test_nothing_beats_the_front_and_the_front_beats_the_rest(
    points: list[tuple[int, int]],
) -> None:
    front = pareto((n, size, float(score)) for n, (size, score) in enumerate(points))
    assert [points[n] for n in front] == sorted(points[n] for n in front)
    for size, score in points:
        assert any(points[n][0] <= size and points[n][1] >= score for n in front)
    for n in front:
        for m in front:
            assert n == m or not (points[m][0] <= points[n][0] and points[m][1] >= points[n][1])


def test_a_trial_is_ended_by_those_that_are_no_larger_alone() -> None:
    def course(bits: float, *losses: float) -> Course:
        return Course(bits, 6, dict(enumerate(losses, 1)))

    better = [course(1.0, 0.9, 0.5) for _ in range(4)]
    assert is_behind(course(1.0, 0.9, 0.6), better)
    assert not is_behind(course(1.0, 0.9, 0.4), better)
    assert not is_behind(course(0.9, 0.9, 0.6), better)  # it will be smaller
    assert not is_behind(course(1.0, 0.9), better)  # too early
    assert not is_behind(course(1.0, 0.9, 0.6), better[:3])  # too few
    assert not is_behind(course(1.0, 0.9, 0.6), [course(1.0, 0.5)] * 4)  # not so far yet
    assert not is_behind(course(1.0, *[0.6] * 6), [course(1.0, *[0.5] * 6)] * 4)  # done anyway


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")  # they do not die in this test
def test_a_trial_too_many_is_not_run(tmp_path: Path) -> None:
    from sprat.tuning import study as studies

    space = narrowed(usual_space(None, has_widths=True, has_labels=True, optimizer="sgd"), {})
    url = f"sqlite:///{tmp_path / 'study.db'}"
    with studies.open_study(url, "one", seed=0, heartbeat=60, first=space.usual()) as study:
        others = [study.ask(), study.ask()]  # begun by others in the moment before
        worker = studies.Worker(study, space, 2, lambda _trial, _drawn: pytest.fail("it was run"))
        worker.take()
        for number, other in enumerate(others):
            study.tell(other, [number, 1.0])
        now = studies.count(study, 2)
    assert [(line.first, line.state) for line in now.lines] == [(0, "complete"), (1, "complete")]
    assert now.is_done


@pytest.mark.filterwarnings("ignore:Heartbeat of storage", "ignore:RetryHeartbeatStale")
@pytest.mark.parametrize("figures", [0, 3, 7])
def test_killed_while_it_draws_a_trial_draws_the_same_again(tmp_path: Path, figures: int) -> None:
    from optuna.storages import RetryHeartbeatStaleTrialCallback
    from optuna.trial import TrialState

    from sprat.tuning import study as studies

    space = narrowed(usual_space((64, 64), has_widths=True, has_labels=True, optimizer="adamw"), {})

    def drawn(name: str, *, broken: bool) -> dict[int, Draw]:
        url = f"sqlite:///{tmp_path / name}"
        with studies.open_study(url, "one", seed=5, heartbeat=60, first=space.usual()) as study:
            found = {0: space.draw(study.ask())}
            trial = study.ask()
            if broken:  # killed: its first figures are in the study, and others go on meanwhile
                for field in fields(space)[:figures]:
                    getattr(space, field.name).draw(trial, field.name)
                found[2] = space.draw(study.ask())
                study.tell(trial, state=TrialState.FAIL)
                again = RetryHeartbeatStaleTrialCallback()
                again(study, study.get_trials(deepcopy=False)[trial.number])
                trial = study.ask()
            found[1] = space.draw(trial)
            following = study.ask()
            return {**found, 3 if broken else 2: space.draw(following)}

    whole, broken = drawn("whole.db", broken=False), drawn("broken.db", broken=True)
    assert len(set(map(repr, broken.values()))) == 4
    assert [broken[n] for n in range(3)] == [whole[n] for n in range(3)]


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_on_sqlite_no_trial_is_taken_by_two(tmp_path: Path) -> None:
    from sprat.tuning import study as studies

    url, workers, each = f"sqlite:///{tmp_path / 'study.db'}", 6, 3

    def take(_worker: int) -> list[int]:
        with studies.open_study(url, "one", seed=0, heartbeat=60, first={}) as study:
            together.wait()
            return [study.ask().number for _ in range(each)]

    with studies.open_study(url, "one", seed=0, heartbeat=60, first={}) as study:
        for _ in range(workers * each - 1):
            study.enqueue_trial({})
        together = Barrier(workers)
        with ThreadPoolExecutor(workers) as pool:
            taken = [number for numbers in pool.map(take, range(workers)) for number in numbers]
    assert sorted(taken) == list(range(workers * each))
