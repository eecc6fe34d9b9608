"""``sprat optimize --student`` and ``--reference``: original and student on one curve each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sprat.distillation.configs import Recipe, Student
from sprat.errors import DataNotFoundError, OptionError
from sprat.files import sha256_file
from sprat.model.load import load, save
from sprat.model.session import open_session, run
from sprat.progress import Watch, silent
from sprat.record.history import read
from sprat.record.run import load_run
from sprat.record.schema import CandidateRecord, Run
from sprat.search.budget import choose
from sprat.search.rate import walk
from sprat.spread import ALONE
from sprat.workflow.budget import Budget
from sprat.workflow.compare import compare
from sprat.workflow.foresee import foresee
from sprat.workflow.line import open_line
from sprat.workflow.optimize import optimize
from sprat.workflow.setting import open_setting
from tests import models
from tests.students import SMALL

#: The student; it kills its training at a step, and the metric kills the search at a measurement.
NETS = (
    SMALL
    + """
import os
import numpy as np
from sprat.evaluate import speed

speed._BLOCK_SECONDS = 1e-3  # of times only that there are some is tested

def kill(name, count):
    if count == int(os.environ.get(name, "-1")):
        os.kill(os.getpid(), 9)

def at_step(count):
    kill("KILL_STEP", count)

measured = 0

def right(outputs, labels):
    global measured
    measured += 1
    kill("KILL_MEASUREMENT", measured)
    return (outputs["output"].argmax(1) == labels).astype(np.float64)
"""
)
STUDENT = Student("optimize_nets:small")
EPOCHS = 20
WORDS = (
    *("--student", "optimize_nets:small", "--epochs", EPOCHS),
    *("--max-drop", 60, "--minutes", 10, "--metric", "optimize_nets:right"),
)


def make_place(place: Path) -> None:
    """Write a teacher, tinted noise with its answers as labels, and networks of the user's own."""
    (place / "optimize_nets.py").write_text(NETS)
    teacher = models.cnn_with_batch_norm()
    tints = np.random.default_rng(2).standard_normal((256, 3, 1, 1)).astype(np.float32)
    images = 0.3 * models.images(256, seed=1) + 2 * tints
    labels = run(open_session(teacher), {"input": images})["output"].argmax(1)
    split = np.array(["train", "train", "val", "test"])[np.arange(256) % 4]
    np.savez(place / "data.npz", input=images, split=split, label=labels)
    save(teacher, place / "teacher.onnx")


def sprat(place: Path, *words: object, without: tuple[str, ...] = (), **variables: str) -> Any:
    """Run the command line in a folder, as on a machine without some packages."""
    script = (
        "import os, sys; "
        f"sys.modules.update(dict.fromkeys({without!r})); os.environ.update({variables!r}); "
        "os.environ['SPRAT_THREADS'] = '1'; "
        "from sprat.cli import main; sys.argv[0] = 'sprat'; main()"
    )
    command = [sys.executable, "-c", script, *map(str, words)]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a teacher, and what one undisturbed run made of it in ``whole``."""
    place = tmp_path_factory.mktemp("student")
    make_place(place)
    done = sprat(place, "optimize", "teacher.onnx", "--data", "data.npz", "--out", "whole", *WORDS)
    assert done.returncode == 0, done.stderr
    assert f"epoch {EPOCHS}: loss" in done.stderr
    assert "optimize_nets:small, 2," in done.stdout
    assert f"learned for {EPOCHS} of {EPOCHS} epochs" in done.stdout
    return place


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in that folder."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("SPRAT_THREADS", "1")
    monkeypatch.setattr("sprat.evaluate.speed._BLOCK_SECONDS", 1e-3)
    return place


def made_of(run: Run, source: str, method: str = "rate-distortion") -> list[CandidateRecord]:
    return [c for c in run.candidates if c.source == source and c.method == method]


def bytes_of(candidate: CandidateRecord) -> int:
    assert candidate.wire is not None
    return candidate.wire.brotli


def test_both_curves_are_walked_and_the_fewest_bytes_within_the_budget_win(here: Path) -> None:
    found = load_run(here / "whole/run.json")
    assert found.student is not None
    assert found.distillation is not None
    assert [e.epoch for e in found.distillation.curve] == list(range(1, EPOCHS + 1))
    assert "torch" in found.versions
    assert len(made_of(found, "original")) > 1
    assert len(made_of(found, "student")) > 1
    (student,) = made_of(found, "student", "float32")
    names = [c.name for c in found.candidates]
    assert len(names) == len(set(names))
    assert all((c.source == "student") == c.name.startswith("student-") for c in found.candidates)
    assert found.student.sha256 == student.sha256 == sha256_file(here / "whole/.work/student.onnx")
    fit = [c for c in found.candidates if c.outcome in ("within budget", "chosen")]
    best = min(fit, key=lambda c: (bytes_of(c), c.name))
    assert best.name == found.choice.candidate
    assert sha256_file(here / "whole/model.onnx") == best.sha256 == found.outputs[0].sha256
    assert bytes_of(best) < found.model.wire.brotli
    assert found.choice.test is not None


def test_the_student_is_held_against_the_teacher(here: Path) -> None:
    found = load_run(here / "whole/run.json")
    (student,) = made_of(found, "student", "float32")
    own = compare(here / "teacher.onnx", here / "whole/.work/student.onnx", here / "data.npz")
    assert student.evaluation is not None
    assert student.evaluation.reference == 1.0  # the labels are the teacher's answers
    assert student.evaluation.drop == pytest.approx(own.evaluation.drop)
    assert student.evaluation.agreement == own.evaluation.agreement < 1
    assert student.evaluation.error.divergence == pytest.approx(own.evaluation.error.divergence)
    assert found.distillation is not None
    best = found.distillation.curve[found.distillation.best - 1]
    assert student.evaluation.model == pytest.approx(best.score)


def test_the_report_shows_both_and_the_log_tells_both(here: Path) -> None:
    page = (here / "whole/report.html").read_text(encoding="utf-8")
    assert "diamonds of the student" in page
    assert "菱形由学生模型得到" in page
    assert "optimize_nets:small with 2," in page
    start = page.index('<div class="chart wide en">')
    chart = page[start : page.index("</svg>", start)]
    assert "var(--student" in chart
    assert "var(--accent" in chart
    assert "original" in chart
    for c in load_run(here / "whole/run.json").candidates:
        assert c.name in page
    told = [entry.operation for entry in load_run(here / "whole/run.json").log]
    assert told[0] == "distill teacher.onnx --student optimize_nets:small"
    assert {"simplify teacher.onnx", "simplify student.onnx"} < set(told)
    assert read(here / "whole")[-1].operation == "optimize teacher.onnx"


def test_its_command_repeats_it(here: Path) -> None:
    words = load_run(here / "whole/run.json").command
    assert f"--student optimize_nets:small --epochs {EPOCHS} --student-minutes 30" in words
    done = sprat(here, *words.split()[1:], "--dry-run")
    assert done.returncode == 0, done.stderr


def test_killed_in_the_training_and_in_the_search_it_ends_as_if_it_had_not_been(
    here: Path,
) -> None:
    words = ("optimize", "teacher.onnx", "--data", "data.npz", "--out", "killed", *WORDS)
    dead = sprat(here, *words, KILL_STEP="5")  # two steps an epoch
    assert dead.returncode == 3, dead.stderr
    assert "epoch 2:" in dead.stderr
    assert list((here / "killed/.work").glob("training-*.pt"))
    # The teacher, all epochs but two, the student as it is and its first point go before.
    dead = sprat(here, *words, KILL_MEASUREMENT=f"{1 + EPOCHS - 2 + 3}")
    assert dead.returncode == 3, dead.stderr
    assert "epoch 2:" not in dead.stderr  # it was not repeated
    assert (here / "killed/.work/student.onnx").is_file()
    assert not (here / "killed/model.onnx").exists()
    done = sprat(here, *words)
    assert done.returncode == 0, done.stderr
    assert "epoch" not in done.stderr
    for name in ("model.onnx", ".work/student.onnx"):
        assert (here / "killed" / name).read_bytes() == (here / "whole" / name).read_bytes()


def test_a_given_student_is_held_against_its_reference(here: Path) -> None:
    student, teacher = here / "whole/.work/student.onnx", here / "teacher.onnx"
    budget = Budget("fast", max_drop=60, minutes=10)
    out = here / "given"
    found = optimize(student, here / "data.npz", out, budget=budget, reference=teacher)
    assert found.model.sha256 == sha256_file(teacher)
    assert found.student is not None
    assert found.student.sha256 == sha256_file(student)
    assert found.distillation is None
    assert {c.source for c in found.candidates} == {"student"}
    assert f"student.onnx --data {here / 'data.npz'}" in found.command
    assert "--reference teacher.onnx" in found.command
    assert found.choice.validation.reference == 1.0
    assert found.choice.test is not None
    judged = compare(teacher, out / "model.onnx", here / "data.npz", split="test").evaluation
    assert found.choice.test.drop == judged.drop
    assert found.choice.test.agreement == judged.agreement
    fit = [c.model_copy(update={"outcome": "within budget"}) for c in within(found)]
    best, _ = choose(fit, "fast", found.model.wire.brotli)
    assert best is not None
    assert best.name == found.choice.candidate
    assert made_of(found, "student", "rate-distortion-static")


def within(found: Run) -> list[CandidateRecord]:
    return [c for c in found.candidates if c.outcome in ("within budget", "chosen")]


def test_a_student_beyond_the_budget_is_not_walked_and_the_original_stays(here: Path) -> None:
    student, teacher = here / "whole/.work/student.onnx", here / "teacher.onnx"
    setting = open_setting(teacher, here / "data.npz")
    how: dict[str, Any] = {"max_drop": 0.0, "seed": 0, "progress": Watch(silent), "spread": ALONE}
    line = open_line(student, load(student), setting, "student", here / "line", **how)
    (only,) = walk(line.curve, 0.0, lambda: False)
    assert only.record.outcome == "over budget"
    budget = Budget(max_drop=0.0, minutes=1e-4)
    found = optimize(student, here / "data.npz", here / "over", budget=budget, reference=teacher)
    assert not within(found)
    assert found.choice.candidate == "original"
    assert (here / "over/model.onnx").read_bytes() == teacher.read_bytes()


def test_a_dry_run_says_what_would_be_taught(here: Path) -> None:
    found = foresee(
        here / "teacher.onnx",
        here / "data.npz",
        student=Student("mobilenet_v3_small", width=0.25),
        recipe=Recipe(epochs=3, minutes=7),
    )
    assert found.student.startswith("mobilenet_v3_small with ")
    assert "looking at 16x16, by teacher.onnx on 128 samples of train, 3 epochs" in found.student
    assert "student-rate-distortion" in found.candidates
    assert found.most_seconds == 60 * (5 + 7)
    with pytest.raises(OptionError, match="no network 'mobile'"):
        foresee(here / "teacher.onnx", here / "data.npz", student=Student("mobile"))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            models.cnn_with_batch_norm(classes=3),
            r"has the outputs 'output' float32 \[n, 3\]; those",
        ),
        (models.mlp(features=16), r"has the inputs 'input' float32 \[n, 16\]; those of teacher"),
    ],
    ids=["classes", "input"],
)
def test_a_model_that_cannot_take_the_place_is_refused(
    here: Path, tmp_path: Path, other: Any, words: str
) -> None:
    path = save(other, tmp_path / "other.onnx")
    with pytest.raises(OptionError, match=words):
        optimize(path, here / "data.npz", tmp_path / "out", reference=here / "teacher.onnx")


def test_what_contradicts_itself_is_refused(here: Path, tmp_path: Path) -> None:
    teacher, data, out = here / "teacher.onnx", here / "data.npz", tmp_path / "out"
    with pytest.raises(OptionError, match="--reference: cannot go with --student"):
        optimize(teacher, data, out, reference=teacher, student=STUDENT)
    with pytest.raises(OptionError, match="--width"):
        optimize(teacher, data, out, student=Student(width=0))
    with pytest.raises(OptionError, match="--epochs"):
        optimize(teacher, data, out, student=STUDENT, recipe=Recipe(epochs=0))
    with np.load(data, allow_pickle=False) as known:
        np.savez(tmp_path / "bare.npz", input=known["input"][:48], label=known["label"][:48])
    with pytest.raises(DataNotFoundError, match="no split train"):
        optimize(teacher, tmp_path / "bare.npz", out, student=STUDENT)
    done = sprat(here, "optimize", teacher, "--data", data, "--out", out, "--mirror")
    assert done.returncode == 2
    assert "--mirror: needs --student" in done.stderr


def test_without_torch_it_says_what_to_install_before_any_work(tmp_path: Path) -> None:
    make_place(tmp_path)
    words = ("optimize", "teacher.onnx", "--data", "data.npz", "--out", "out", *WORDS)
    done = sprat(tmp_path, *words, without=("torch", "torchvision"))
    assert done.returncode == 2
    assert "pip install '.[distill]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_students_file_is_a_model_of_its_own(here: Path) -> None:
    student, teacher = load(here / "whole/.work/student.onnx"), load(here / "teacher.onnx")
    assert student.graph.input == teacher.graph.input
    assert student.graph.output == teacher.graph.output
