"""What a distillation was asked for and found, and what is written of it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from sprat import __version__
from sprat.data.options import as_toml, as_words
from sprat.distillation.configs import Recipe, Student
from sprat.evaluate.speed import measure_speed
from sprat.evaluate.types import Evaluation, Speed
from sprat.files import sha256, sha256_file
from sprat.model.inspect import inspect
from sprat.model.load import total_bytes
from sprat.model.result import result_bytes
from sprat.model.wire import WireBytes, wire_bytes
from sprat.progress import Progress
from sprat.record.schema import (
    CandidateRecord,
    ChoiceRecord,
    DistillationRecord,
    EpochRecord,
    FileRecord,
    LogEntry,
    Run,
)
from sprat.record.versions import machine, versions
from sprat.workflow.budget import Clock
from sprat.workflow.outcome import data_record
from sprat.workflow.run_folder import MODEL, OPTIONS, PREVIEW, RunFolder
from sprat.workflow.setting import Setting, found_options

if TYPE_CHECKING:
    from sprat.distillation.train import Trained


@dataclass(frozen=True)
class Asked:
    """What was asked for.

    Attributes:
        teacher: Its file.
        out: Folder for the results.
        setting: The teacher with its data.
        student: The network that learns.
        recipe: How it is taught.
        opset: Of its file.
        max_drop: Points that accuracy may fall.
        seed: Of all that is drawn.
        limit: Samples of each split at most.
    """

    teacher: Path
    out: Path
    setting: Setting
    student: Student
    recipe: Recipe
    opset: int
    max_drop: float
    seed: int
    limit: int | None


@dataclass(frozen=True)
class Found:
    """What came out.

    Attributes:
        model: The student as ONNX.
        trained: The curve of its training.
        parameters: How many it has.
        size: Height and width that it looks at; empty where the input is no picture.
        augmentation: How views were made.
        notes: What it began with, in words.
    """

    model: onnx.ModelProto
    trained: Trained
    parameters: int
    size: tuple[int, ...]
    augmentation: str
    notes: tuple[str, ...]


def write(asked: Asked, found: Found, clock: Clock, progress: Progress, out: RunFolder) -> Run:
    """Measure the student, and write model, options, record, log and report.

    Args:
        asked: What was asked for.
        found: What came out.
        clock: Seconds by stage.
        progress: Told how far the work is.
        out: The folder.

    Returns:
        The record.

    Raises:
        OutputError: A file cannot be written.
    """
    setting = asked.setting
    content = result_bytes(found.model, made_by="distillation")
    with clock.stage("measure the student"):
        validation = setting.reference.evaluate(found.model, progress)
        speed = measure_speed(
            setting.model, found.model, setting.calibration(1)[0], progress=progress
        )
        before = wire_bytes(total_bytes(asked.teacher), exact=False)
        after = wire_bytes(content)
    with clock.stage("look at test once"):
        # Who ended the training may go on with it: test is looked at when it is done.
        unripe = found.trained.ended == "interrupted" or _is_untaught(found.trained.curve)
        test = None if unripe else _last_look(setting, found.model, progress)
    run = _record(asked, found, clock, content, (before, after), (validation, test), speed)
    pictures = {s.name: s.path for s in setting.data.choice.samples if s.path is not None}
    pictures |= {s.name: s.path for s in setting.data.final.samples if s.path is not None}
    files: dict[str, bytes | str] = {MODEL: content, OPTIONS: as_toml(found_options(setting))}
    out.commit(run, files=files, pictures=pictures, remove=(PREVIEW,))
    return run


def _last_look(setting: Setting, model: onnx.ModelProto, progress: Progress) -> Evaluation | None:
    final = setting.data.final
    if not final.samples or final.digest == setting.data.choice.digest:
        return None
    return setting.on(final, "test", progress).evaluate(model, progress)


def _record(
    asked: Asked,
    found: Found,
    clock: Clock,
    content: bytes,
    wires: tuple[WireBytes, WireBytes],
    evaluations: tuple[Evaluation, Evaluation | None],
    speed: Speed,
) -> Run:
    setting, trained = asked.setting, found.trained
    (before, after), (validation, test) = wires, evaluations
    name = asked.student.name
    reason = f"Epoch {trained.best + 1} of {len(trained.curve)} is the best on val."
    if _is_untaught(trained.curve):
        reason = "No epoch was finished: this student has learned next to nothing."
    candidate = CandidateRecord(
        name=name,
        method="distill",
        outcome="chosen",
        note="; ".join(found.notes),
        sha256=sha256(content),
        wire=after,
        bits_per_weight=8 * after.brotli / found.parameters if found.parameters else None,
        evaluation=validation,
        speed=speed,
        seconds=clock.stages.get("train", 0.0),
    )
    return Run(
        sprat=__version__,
        versions={**versions(), **torch_versions()},
        machine=machine(),
        command=_command(asked, trained.planned),
        seed=asked.seed,
        options={"max_drop": asked.max_drop, "minutes": asked.recipe.minutes, "limit": asked.limit},
        model=FileRecord(path=asked.teacher.name, sha256=sha256_file(asked.teacher), wire=before),
        outputs=(FileRecord(path="model.onnx", sha256=sha256(content), wire=after),),
        data=data_record(setting, train="training"),
        inspection=inspect(asked.teacher),
        candidates=(candidate,),
        choice=ChoiceRecord(
            candidate=name,
            goal="small",
            max_drop=asked.max_drop,
            reason=reason,
            validation=validation,
            test=test,
            speed=speed,
        ),
        distillation=taught_record(asked, found),
        timings=clock.stages,
        log=(_entry(asked, found, wires, test or validation),),
    )


def taught_record(asked: Asked, found: Found) -> DistillationRecord:
    """Return how a student was taught."""
    student, trained = asked.student, found.trained
    return DistillationRecord(
        student=student.name,
        width=student.width,
        size=found.size,
        weights=_weights(student),
        parameters=found.parameters,
        opset=asked.opset,
        recipe=asked.recipe.decides(),
        augmentation=found.augmentation,
        planned=trained.planned,
        ended=trained.ended,
        best=trained.best + 1,
        curve=tuple(trained.curve),
    )


def _weights(student: Student) -> str:
    return (
        student.weights if student.weights in ("none", "imagenet") else Path(student.weights).name
    )


def _entry(
    asked: Asked, found: Found, wires: tuple[WireBytes, WireBytes], look: Evaluation
) -> LogEntry:
    return LogEntry(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        operation=f"distill {asked.teacher.name} --student {asked.student.name}",
        result=f"{wires[0].brotli:,} to {wires[1].brotli:,} bytes br-11, {look.metric} drop "
        f"{look.drop:+.2f} points on {look.split} (95 % {look.interval.low:+.2f} to "
        f"{look.interval.high:+.2f})",
        notes=in_words(taught_record(asked, found), look.metric),
    )


def in_words(taught: DistillationRecord, metric: str) -> str:
    """Say how a training went, for the log."""
    last = taught.curve[-1]
    if _is_untaught(taught.curve):
        return f"0 of {taught.planned} epochs ({taught.ended}), {metric} on val {last.score:.2%}"
    return (
        f"{len(taught.curve)} of {taught.planned} epochs ({taught.ended}), the best is "
        f"{taught.best}; last loss {last.loss:.4f}, {metric} on val {last.score:.2%}"
    )


def _is_untaught(curve: Sequence[EpochRecord]) -> bool:
    """Say whether the training ended within its first epoch, which then has no mean loss."""
    return math.isnan(curve[-1].loss)


def torch_versions() -> dict[str, str]:
    """Return the versions that a student's weights depend on, by package."""
    return {name: version(name) for name in ("torch", "torchvision")}


def _command(asked: Asked, epochs: int) -> str:
    """Return the command line that repeats the run: with the epochs that were planned."""
    student, words = asked.student, ["sprat", "distill", asked.teacher.name]
    words += ["--data", asked.setting.data.source, "--out", asked.out.name]
    words += ["--student", student.name, "--epochs", str(epochs)]
    words += ["--minutes", f"{asked.recipe.minutes:g}", "--seed", str(asked.seed)]
    words += ["--opset", str(asked.opset), "--max-drop", f"{asked.max_drop:g}"]
    words += network_words(student)
    if asked.limit is not None:
        words += ["--limit", str(asked.limit)]
    words += as_words(asked.setting.said)
    words += recipe_words(asked.recipe, without=("epochs", "minutes"))
    return shlex.join(words)


def recipe_words(recipe: Recipe, *, without: Sequence[str]) -> list[str]:
    """Return the options of a command line that make the usual recipe this one.

    Args:
        recipe: How a student is taught.
        without: Fields that are said otherwise.
    """
    plain, words = Recipe(), []
    for field in fields(Recipe):
        value = getattr(recipe, field.name)
        if field.name in without or value == getattr(plain, field.name):
            continue
        words += [f"--{'no-' * (value is False)}{field.name.replace('_', '-')}"]
        words += [] if isinstance(value, bool) else [f"{value}"]
    return words


def network_words(student: Student) -> list[str]:
    """Return the options of a command line that make a student of this name this one."""
    words = []
    if student.width != 1:
        words += ["--width", f"{student.width:g}"]
    if student.size is not None:
        words += ["--student-size", "x".join(map(str, student.size))]
    if student.weights != "none":
        words += ["--weights", student.weights]
    return words
