"""``sprat distill``, the whole way: on small data, killed, interrupted, repeated, refused."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from sprat.cli.app import app
from sprat.data.options import DataOptions, as_toml, read_options
from sprat.distillation.configs import Recipe, Student
from sprat.errors import DataError, DataNotFoundError, OptionError, OutputError, TrainingError
from sprat.files import sha256_file
from sprat.model.load import load, save
from sprat.model.session import open_session, run
from sprat.progress import silent
from sprat.record.history import read
from sprat.record.run import load_run
from sprat.record.schema import EpochRecord, Run
from sprat.workflow.budget import Clock
from sprat.workflow.distill import distill
from sprat.workflow.setting import open_setting
from sprat.workflow.student import Asked, Found
from sprat.workflow.teach import teach
from tests import models

EXAMPLE = Path(__file__).parents[1] / "examples/doodles"
MODEL, DATA = EXAMPLE / "doodles.onnx", EXAMPLE / "data"
NETS = """
import os, signal
from pathlib import Path
import torch
from torch import nn

class Small(nn.Module):
    def __init__(self, columns, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 16, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(16, columns)
        self.calls = 0

    def forward(self, x):
        self.calls += self.training
        if self.calls == int(os.environ.get("KILL_AT", "-1")):
            os.kill(os.getpid(), signal.SIGKILL)
        return self.head(self.drop(self.norm(self.conv(x)).relu().mean((2, 3))))

def small(*, columns, channels, size):
    return Small(columns, channels)

def broken(*, columns, channels, size):
    made = Small(columns, channels)
    with torch.no_grad():
        made.head.weight[:] = 3e38
    return made

def wide(*, columns, channels, size):
    return Small(columns + 1, channels)

def flat(*, columns, channels, size):
    return nn.Sequential(nn.Linear(channels, 16), nn.ReLU(), nn.Linear(16, columns))
"""
SMALL = Student("distill_nets:small")
FAST = Recipe(epochs=3, batch=32, minutes=5, rate=0.01)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a folder with networks of the user's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPRAT_THREADS", "1")
    (tmp_path / "distill_nets.py").write_text(NETS)
    return tmp_path


def task(folder: Path, *, labelled: bool = True, count: int = 160) -> tuple[Path, Path]:
    """Write a teacher of four classes, and pictures with their splits."""
    teacher = models.cnn_with_batch_norm()
    images = models.images(count, seed=1)
    labels = run(open_session(teacher), {"input": images})["output"].argmax(1)
    split = np.array(["train", "val", "test"])[
        np.arange(count) % 4 // 2 + (np.arange(count) % 4 > 2)
    ]
    more = {"label": labels} if labelled else {}
    np.savez(folder / "data.npz", input=images, split=split, **more)
    return save(teacher, folder / "teacher.onnx"), folder / "data.npz"


def whole_way(here: Path, out: str, **more: Any) -> Run:
    teacher, data = here / "teacher.onnx", here / "data.npz"
    if not teacher.is_file():
        task(here)
    options = {"student": SMALL, "recipe": FAST, **more}
    return distill(teacher, data, here / out, **options)


def taught(here: Path, out: str, **more: Any) -> Found:
    """Teach and export, without the measurements and the report."""
    if not (here / "teacher.onnx").is_file():
        task(here)
    asked = Asked(
        here / "teacher.onnx",
        here / out,
        open_setting(here / "teacher.onnx", here / "data.npz", more.get("options")),
        more.get("student", SMALL),
        more.get("recipe", FAST),
        17,
        100,
        more.get("seed", 0),
        None,
    )
    stop, told = more.get("stop", lambda: False), more.get("told", lambda _epoch, _left: None)
    return teach(asked, Clock(asked.recipe.minutes, stop), silent, told, stop)


def content(found: Found) -> bytes:
    return found.model.SerializeToString(deterministic=True)


def test_a_student_takes_the_teachers_place(here: Path) -> None:
    heard: list[tuple[EpochRecord, float]] = []
    found = whole_way(here, "out", told=lambda epoch, left: heard.append((epoch, left)))
    teacher, student = load(here / "teacher.onnx"), load(here / "out/model.onnx")
    assert student.graph.input == teacher.graph.input
    assert student.graph.output == teacher.graph.output
    assert [o.version for o in student.opset_import] == [17]
    record = found.distillation
    assert record is not None
    assert (record.student, record.planned, record.ended) == ("distill_nets:small", 3, "epochs")
    assert [row.epoch for row in record.curve] == [1, 2, 3]
    assert [row for row, _ in heard] == list(record.curve)
    assert heard[-1][1] == 0
    assert record.curve[-1].loss < record.curve[0].loss
    best = record.curve[record.best - 1]
    assert best.score == max(row.score for row in record.curve)
    assert found.choice.validation.model == pytest.approx(best.score)
    assert found.choice.test is not None
    assert found.choice.test.split == "test"
    assert found.model.sha256 == sha256_file(here / "teacher.onnx")
    assert found.outputs[0].sha256 == sha256_file(here / "out/model.onnx")
    assert load_run(here / "out/run.json") == found
    assert "distill teacher.onnx --student" in read(here / "out")[-1].operation
    assert "3 of 3 epochs" in read(here / "out")[-1].notes
    assert "distill" in (here / "out/report.html").read_text(encoding="utf-8")


def test_the_next_step_that_is_proposed_names_the_teacher(here: Path) -> None:
    teacher, data = task(here)
    words = ("distill", teacher, "--data", data, "--student", "distill_nets:small")
    more = ("--epochs", 1, "--max-drop", 100, "--out", here / "said")
    done = CliRunner().invoke(app, [str(word) for word in (*words, *more)])
    assert done.exit_code == 0, done.output
    proposed = f"optimize {here / 'said/model.onnx'} --reference {teacher} --data {data}"
    assert proposed in " ".join(done.output.split())


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(here: Path) -> None:
    runs = (("a", 0), ("b", 0), ("c", 1))
    one, same, other = (content(taught(here, out, seed=seed)) for out, seed in runs)
    assert one == same
    assert one != other


def test_killed_in_the_second_epoch_it_ends_as_if_it_had_not_been(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = taught(here, "whole")
    command = [
        *(sys.executable, "-m", "sprat", "distill", "teacher.onnx", "--data", "data.npz"),
        *("--out", "killed", "--student", "distill_nets:small", "--epochs", "3"),
        *("--batch", "32", "--minutes", "5", "--rate", "0.01", "--max-drop", "100"),
    ]
    monkeypatch.setenv("KILL_AT", "4")  # two steps an epoch
    dead = subprocess.run(command, capture_output=True, text=True, check=False)
    assert dead.returncode == 3, dead.stderr
    assert "was killed" in dead.stderr
    assert not (here / "killed/model.onnx").exists()
    monkeypatch.delenv("KILL_AT")
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "epoch 1:" not in done.stderr  # it was not repeated
    assert "epoch 2:" in done.stderr
    curve = json.loads(done.stdout)["distillation"]["curve"]
    for ours, theirs in zip(curve, whole.trained.curve, strict=True):
        assert {**ours, "seconds": 0} == {**theirs.model_dump(), "seconds": 0}
    assert (here / "killed/model.onnx").read_bytes() == content(whole)
    assert not list((here / "killed").rglob(".*.pt*"))


def test_an_interruption_keeps_the_best_and_the_same_command_goes_on(here: Path) -> None:
    epochs = 0

    def told(_epoch: EpochRecord, _left: float) -> None:
        nonlocal epochs
        epochs += 1

    found = taught(here, "out", told=told, stop=lambda: epochs == 2)
    assert found.trained.ended == "interrupted"
    assert len(found.trained.curve) == 2
    found = taught(here, "out", told=told)
    assert epochs == 3
    assert content(found) == content(taught(here, "whole"))


def test_interrupted_at_once_it_still_writes_a_student(here: Path) -> None:
    found = whole_way(here, "out", stop=lambda: True)
    assert found.distillation is not None
    assert len(found.distillation.curve) == 1
    assert found.choice.reason.startswith("No epoch was finished")
    assert found.log[-1].notes.startswith("0 of 3 epochs (interrupted)")
    assert found.choice.test is None  # it is looked at when the training is done
    open_session(here / "out/model.onnx")


def test_more_minutes_plan_a_training_anew(here: Path) -> None:
    def states() -> int:
        return len(list((here / "out/.work").glob("training-*.pt")))

    for minutes, count in ((0.03, 1), (0.05, 2)):
        taught(here, "out", recipe=replace(FAST, epochs=None, minutes=minutes))
        assert states() == count
    for minutes in (4, 5):  # with their number given, minutes decide nothing
        taught(here, "out", recipe=replace(FAST, epochs=1, minutes=minutes))
        assert states() == 3


def test_time_plans_the_epochs_and_ends_them(here: Path) -> None:
    found = taught(here, "planned", recipe=replace(FAST, epochs=None, minutes=0.03))
    assert found.trained.planned >= 1
    late = taught(here, "late", recipe=replace(FAST, epochs=50, minutes=1e-9))
    assert late.trained.ended == "minutes"
    assert len(late.trained.curve) == 1


def test_patience_ends_a_training_that_gains_nothing(here: Path) -> None:
    recipe = replace(FAST, epochs=60, rate=1e-9, patience=2, augment="none")
    found = taught(here, "out", recipe=recipe).trained
    assert found.ended == "patience"
    assert len(found.curve) == found.best + 3


@pytest.mark.parametrize(
    "recipe",
    [
        replace(FAST, asked="views"),
        replace(FAST, schedule="cosine", optimizer="sgd"),
        replace(FAST, ema=0.0, augment="photo", mirror=True),
        replace(FAST, alpha=0.0),
    ],
    ids=["views", "cosine and sgd", "no mean", "labels alone"],
)
def test_other_recipes_teach_as_well(here: Path, recipe: Recipe) -> None:
    curve = taught(here, "out", recipe=replace(recipe, epochs=8)).trained.curve
    assert curve[-1].loss < curve[0].loss


def test_without_labels_the_teacher_alone_teaches(here: Path) -> None:
    task(here, labelled=False)
    found = whole_way(here, "out", recipe=replace(FAST, asked="views", mirror=False, epochs=4))
    assert found.distillation is not None
    assert found.command.endswith("--batch 32 --rate 0.01 --no-mirror --asked views")
    assert {row.hard for row in found.distillation.curve} == {0.0}
    assert found.choice.validation.metric == "agreement"
    assert found.distillation.curve[-1].loss < found.distillation.curve[0].loss


@pytest.mark.parametrize("vector", ["cosine", "mse"])
def test_an_embedding_is_learned_from_inputs_that_are_no_pictures(here: Path, vector: Any) -> None:
    rows = np.random.default_rng(0).standard_normal((80, 32)).astype(np.float32)
    save(models.mlp(), here / "teacher.onnx")
    split = np.array(["train", "val"])[np.arange(80) % 2]
    np.savez(here / "data.npz", split=split, input=rows)
    found = taught(
        here,
        "out",
        student=Student("distill_nets:flat"),
        recipe=replace(FAST, vector=vector, epochs=20),
        options=DataOptions(kind="vector"),
    )
    assert found.size == ()
    assert found.trained.curve[-1].score > found.trained.curve[0].score
    with pytest.raises(OptionError, match="no picture"):
        taught(here, "other", student=Student("distill_nets:flat", size=(8, 8)))
    with pytest.raises(OptionError, match="cannot take the teacher's input"):
        taught(here, "other", student=Student("resnet18"))


def test_what_cannot_be_taught(here: Path) -> None:
    with pytest.raises(TrainingError, match="no number any more in epoch 1"):
        taught(here, "nan", student=Student("distill_nets:broken"))
    with pytest.raises(OptionError, match="--student-size"):
        taught(here, "out", student=replace(SMALL, size=(1, 1)))
    wanted = r"--student: gives \[2, 5\] for 2 samples; it must give \[2, 4\]\. .*: columns\."
    with pytest.raises(OptionError, match=wanted):
        taught(here, "out", student=Student("distill_nets:wide"))
    with pytest.raises(OptionError, match="--device"):
        taught(here, "out", recipe=replace(FAST, device="abacus"))
    for wrong in ({"alpha": 2}, {"temperature": 0}, {"batch": 1}, {"optimizer": "adam"}):
        with pytest.raises(OptionError, match=f"--{next(iter(wrong))}"):
            whole_way(here, "out", recipe=replace(FAST, **wrong))
    with pytest.raises(OptionError, match="--max-drop"):
        whole_way(here, "out", max_drop=-1)
    with pytest.raises(OptionError, match="--opset"):
        whole_way(here, "out", opset=9)
    (here / "file").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        whole_way(here, "file")
    np.savez(here / "data.npz", input=models.images(20))
    with pytest.raises(DataNotFoundError, match="no split train"):
        whole_way(here, "out")
    split = np.array(["train", *["val"] * 19])
    np.savez(here / "data.npz", input=models.images(20), split=split)
    with pytest.raises(DataError, match="needs two at least"):
        whole_way(here, "out")


def test_a_damaged_state_is_not_believed(here: Path) -> None:
    first = taught(here, "out")
    (state,) = (here / "out/.work").glob("training-*.pt")
    whole = state.read_bytes()
    for damaged in (whole[:100], whole[:-1] + bytes([whole[-1] ^ 1])):
        state.write_bytes(damaged)
        again = taught(here, "out")
        assert content(again) == content(first)
        assert state.read_bytes() != damaged


def test_torch_is_left_as_it_was(here: Path) -> None:
    torch.manual_seed(5)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    taught(here, "out")
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.get_num_threads() == threads


# the command line, on real doodles


def sprat(*words: object, without: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run the command line, as on a machine without some packages."""
    script = (
        "import sys; "
        f"sys.modules.update(dict.fromkeys({without!r})); "
        "from sprat.cli import main; sys.argv[0] = 'sprat'; main()"
    )
    command = [sys.executable, "-c", script, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_on_doodles_at_another_size(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--student", "shufflenet_v2_x0_5", "--student-size", "32x32", "--epochs", 2)
    common = ("--data", DATA, "--limit", 40)
    done = sprat("distill", MODEL, "--out", out, *common, *words, "--batch", 16, "--max-drop", 0)
    assert done.returncode == 1, done.stderr
    assert "epoch 2: loss" in done.stderr
    assert "s left" in done.stderr
    assert "shufflenet_v2_x0_5" in done.stdout
    assert "Trained 2 of 2 epochs" in done.stdout
    assert "WARNING: the drop exceeds 0 points" in done.stdout
    assert read_options(out / "model.onnx", None) == read_options(MODEL, None).model_copy(
        update={"interpolation": "bilinear", "pad": 0, "name": "output"}
    )
    assert load(out / "model.onnx").graph.input == load(MODEL).graph.input
    judged = sprat("compare", MODEL, out / "model.onnx", *common, "--json")
    found = load_run(out / "run.json").choice.validation
    assert json.loads(judged.stdout)["evaluation"]["drop"] == pytest.approx(found.drop)


def test_without_torch_it_says_what_to_install_and_all_else_works(tmp_path: Path) -> None:
    absent = ("torch", "torchvision")
    done = sprat("distill", MODEL, "--data", DATA, "--out", tmp_path, without=absent)
    assert done.returncode == 2
    assert "torch and torchvision" in done.stderr
    assert "pip install '.[distill]'" in done.stderr
    assert "Traceback" not in done.stderr
    other = tmp_path / "mlp.onnx"
    save(models.mlp(), other)
    for words in (
        ("distill", "--help"),
        ("inspect", other),
        ("compare", MODEL, MODEL, "--data", DATA, "--limit", 8),
        ("simplify", other, "-o", tmp_path / "clean.onnx"),
        ("quantize", other, "--method", "weights", "-o", tmp_path / "small.onnx"),
    ):
        assert sprat(*words, without=absent).returncode == 0


def test_nothing_imports_torch_before_it_is_needed() -> None:
    script = (
        "import sys, sprat, sprat.workflow.distill, sprat.cli.app; sprat.distill; sprat.Recipe; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_options_come_back_from_the_toml_that_is_written(tmp_path: Path) -> None:
    options = DataOptions(
        size=(64, 48),
        mean=(0.5, 1e-5, 1.0),
        labels=('a "b"', "č\\", "🐟\x7f\n"),
        kind="classes",
        threshold=0.1,
    )
    (tmp_path / "sprat.toml").write_text(as_toml(options), encoding="utf-8")
    assert read_options(None, tmp_path) == options
