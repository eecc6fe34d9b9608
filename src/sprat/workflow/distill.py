"""``distill``: a small student learns from an ONNX teacher, and takes its place."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from sprat import __version__
from sprat.data.dataset import Dataset
from sprat.data.labels import listed_classes
from sprat.data.options import DataOptions, as_toml
from sprat.distillation.configs import Recipe, Student
from sprat.distillation.extra import require
from sprat.errors import DataNotFoundError, OptionError, OutputError
from sprat.evaluate.speed import measure_speed
from sprat.evaluate.types import Evaluation, Speed
from sprat.files import sha256, sha256_file, write_atomic
from sprat.model.inspect import inspect
from sprat.model.load import total_bytes
from sprat.model.wire import WireBytes, wire_bytes
from sprat.progress import Progress, silent
from sprat.record.history import append
from sprat.record.run import dump_run
from sprat.record.schema import (
    CandidateRecord,
    ChoiceRecord,
    DistillationRecord,
    EpochRecord,
    FileRecord,
    LogEntry,
    Run,
)
from sprat.workflow.budget import Clock
from sprat.workflow.outcome import data_record, machine, versions
from sprat.workflow.setting import Setting, is_fixed, open_setting

if TYPE_CHECKING:
    from sprat.distillation.contract import Contract
    from sprat.distillation.train import Trained

#: Samples on which the export is held against torch.
_CHECKED = 8
#: Training pictures that are looked at to choose the augmentation.
_LOOKED_AT = 64


def _unheard(_epoch: EpochRecord, _left: float) -> None:
    pass


def distill(
    teacher: Path,
    data: str | Path,
    out: Path,
    *,
    student: Student | None = None,
    recipe: Recipe | None = None,
    opset: int = 17,
    max_drop: float = 2.0,
    options: DataOptions | None = None,
    seed: int = 0,
    limit: int | None = None,
    progress: Progress = silent,
    told: Callable[[EpochRecord, float], None] = _unheard,
    stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Teach a small network what an ONNX model knows, and write it as ONNX.

    The student learns from the teacher's answers on ``train`` and from the labels where there are
    any; the epoch that is best on ``val`` is kept, and ``test`` is looked at once. The result has
    the teacher's input and output, so that a page needs no change. Writes ``model.onnx``,
    ``sprat.toml``, ``run.json``, ``report.html`` and ``history.jsonl`` into ``out``; the
    teacher's answers and the state after each epoch stay under ``out/.work``, so that a killed
    training goes on where it was.

    Args:
        teacher: The teacher's file.
        data: Folder, CSV, npz or ``package.module:function``, with a split ``train``.
        out: Folder for the results.
        student: The network that learns.
        recipe: How it is taught.
        opset: Of the student's file.
        max_drop: Points that accuracy may fall against the teacher's.
        options: Preprocessing and output options; they go before ``sprat.toml``.
        seed: Of the student's first weights, the order of samples and the views.
        limit: At most so many samples of each split.
        progress: Told how far the work is.
        told: Told of each epoch, and of the seconds that are probably left.
        stop: Asked at each step; True ends the training with the best so far.

    Returns:
        The record of the run, with the curve of the training in ``distillation``. On one machine
        and number of threads, ``model.onnx`` is the same to the byte for the same seed and
        ``recipe.epochs``.

    Raises:
        PackageMissingError: torch is not installed.
        InputError: The teacher, the data or an option is wrong.
        TrainingError: The training leads nowhere.
        ExportError: The export is not what was asked for.
        OutputError: The results cannot be written.
    """
    require()
    network, how = student or Student(), recipe or Recipe()
    network.check()
    how.check()
    if not 0 <= max_drop <= 100:
        raise OptionError(f"must be 0 to 100 points, got {max_drop:g}.", where="--max-drop")
    if out.exists() and not out.is_dir():
        raise OutputError("is a file.", where=str(out), hint="Give a folder.")
    from sprat.distillation.export import check_opset

    check_opset(opset)
    clock = Clock(how.minutes, stop)
    with clock.stage("read and run the teacher"):
        setting = open_setting(teacher, data, options, limit=limit, progress=progress)
        _check_data(setting)
    asked = Asked(teacher, out, setting, network, how, opset, max_drop, seed, limit)
    found = _taught(asked, clock, progress, told, stop)
    return _written(asked, found, clock, progress)


@dataclass(frozen=True)
class Asked:
    """What was asked for."""

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
class _Found:
    """What came out."""

    model: onnx.ModelProto
    trained: Trained
    parameters: int
    size: tuple[int, ...]
    augmentation: str
    notes: tuple[str, ...]


def _check_data(setting: Setting) -> None:
    if setting.data.train is None:
        raise DataNotFoundError(
            "there is no split train to learn from.",
            where=setting.data.source,
            hint="Put the samples into a folder train; val and test are cut from it where they "
            "are missing.",
        )


def _taught(
    asked: Asked,
    clock: Clock,
    progress: Progress,
    told: Callable[[EpochRecord, float], None],
    stop: Callable[[], bool],
) -> _Found:
    import torch

    from sprat.distillation.augment import augmentation
    from sprat.distillation.contract import Terms, Whole, intake_of
    from sprat.distillation.export import export
    from sprat.distillation.losses import Loss
    from sprat.distillation.students import build
    from sprat.distillation.teacher import Teacher
    from sprat.distillation.train import Lesson, train
    from sprat.distillation.views import Views

    setting, recipe = asked.setting, asked.recipe
    train_set, preprocess = setting.data.train, setting.data.preprocess
    assert train_set is not None
    contract = _contract(setting)
    terms = Terms(contract)
    labels = terms.columns_of([sample.label for sample in train_set.samples])
    intake = intake_of(contract, asked.student, preprocess)
    size = asked.student.size or (contract.shape[-2:] if contract.layout else ())
    channels = contract.shape[0] if contract.shape else 1
    with torch.random.fork_rng():
        torch.manual_seed(asked.seed)
        body, notes = build(asked.student, contract.columns, channels, size)
    _try_out(body, intake, contract, train_set)
    whole = Whole(contract, intake, body)
    fixed = setting.reference.size if is_fixed(setting.model) else None
    teacher = Teacher(contract, fixed, asked.out / ".work" / f"answers-{_answers(asked)}")
    answers = None
    if recipe.asked == "once":
        with clock.stage("ask the teacher"):
            answers = teacher.answers(train_set, progress)
    with clock.stage("read the samples"):
        on_views = recipe.asked == "views"
        views = Views(train_set, contract, None if on_views else intake, progress=progress)
        val = Views(setting.data.choice, contract, intake, progress=progress)
    some = range(min(_LOOKED_AT, len(views)))
    augment, augmentation_name = augmentation(recipe, views[some] if contract.layout else None)
    lesson = Lesson(
        views,
        answers,
        labels,
        augment,
        Loss(contract.kind, recipe.alpha, recipe.temperature, recipe.vector),
        teacher.on_views if on_views else None,
        intake,
        val,
        terms.of_student,
    )
    with clock.stage("train"):
        trained = train(
            body,
            lesson,
            recipe,
            seed=asked.seed,
            state=asked.out / ".work" / f"training-{_key(asked, body)}.pt",
            validate=lambda scores: setting.reference.compare(
                {contract.output: whole.finish(scores).numpy()}
            ),
            minutes=recipe.minutes - (time.perf_counter() - clock.started) / 60,
            progress=progress,
            told=told,
            stop=stop,
        )
    with clock.stage("export"):
        count = fixed or min(_CHECKED, len(setting.data.choice.samples))
        rows = [i % len(setting.data.choice.samples) for i in range(count)]
        model = export(whole.eval(), contract, setting.data.choice.batch(rows), asked.opset)
    parameters = sum(p.numel() for p in body.parameters())
    return _Found(model, trained, parameters, tuple(size), augmentation_name, notes)


def _contract(setting: Setting) -> Contract:
    from sprat.distillation.contract import contract_of

    how = setting.data.preprocess
    layout = how.layout if how is not None else setting.options.layout or "nchw"
    reference = setting.reference
    feeds = setting.data.choice.batch([0])
    return contract_of(setting.model, reference.reading, feeds, reference.outputs, layout)


def _try_out(body: Any, intake: Any, contract: Contract, train_set: Dataset) -> None:
    """Run a student once before anything takes long: it may not take this input at all."""
    import torch

    count = min(2, len(train_set.samples))
    body.eval()
    try:
        with torch.no_grad():
            scores = body(intake(contract.planes(train_set.batch(range(count)))))
        shape = tuple(scores.shape)
    except Exception as error:  # torch and the user's own network raise what they like
        reason = next(iter(str(error).splitlines()), "")
        raise OptionError(
            f"cannot take the teacher's input {list(contract.shape)} ({type(error).__name__}: "
            f"{reason}).",
            where="--student",
            hint="Pictures need a larger --student-size, other inputs a network of your own: "
            "package.module:function.",
        ) from error
    if shape != (count, contract.columns):
        raise OptionError(
            f"gives {list(shape)} for {count} samples; it must give {[count, contract.columns]}.",
            where="--student",
        )


def _answers(asked: Asked) -> str:
    """Return what the teacher's answer to a sample depends on, besides the sample."""
    setting = asked.setting
    parts = (
        sha256_file(asked.teacher),
        repr(setting.data.preprocess),
        setting.reference.reading.output,
        versions()["onnxruntime"],
    )
    return sha256(repr(parts).encode())[:16]


def _key(asked: Asked, body: Any) -> str:
    """Return what the student's weights depend on, besides its first ones."""
    from importlib.metadata import version

    setting = asked.setting
    assert setting.data.train is not None
    weights = asked.student.weights
    parts = (
        _answers(asked),
        setting.data.train.digest,
        setting.data.choice.digest,
        repr(setting.reference.reading),
        setting.options.metric,
        asdict(asked.student),
        sha256_file(Path(weights)) if weights not in ("none", "imagenet") else weights,
        str(body) if ":" in asked.student.name else "",
        asked.recipe.decides(),
        asked.seed,
        [version(name) for name in ("torch", "torchvision", "sprat")],
    )
    return sha256(repr(parts).encode())[:16]


def _written(asked: Asked, found: _Found, clock: Clock, progress: Progress) -> Run:
    """Measure the student, and write model, options, record, log and report."""
    from sprat.report.render import render

    setting, out = asked.setting, asked.out
    content = found.model.SerializeToString(deterministic=True)
    with clock.stage("measure the student"):
        validation = setting.reference.evaluate(found.model, progress)
        speed = measure_speed(
            setting.model, found.model, setting.calibration(1)[0], progress=progress
        )
        before = wire_bytes(total_bytes(asked.teacher), exact=False)
        after = wire_bytes(content)
    with clock.stage("look at test once"):
        test = _last_look(setting, found.model, progress)
    write_atomic(out / "model.onnx", content)
    (out / "preview.onnx").unlink(missing_ok=True)  # of an earlier run
    write_atomic(out / "sprat.toml", as_toml(_options(setting)))
    run = _record(asked, found, clock, content, (before, after), (validation, test), speed)
    append(out, run.log[-1])
    pictures = {s.name: s.path for s in setting.data.choice.samples if s.path is not None}
    pictures |= {s.name: s.path for s in setting.data.final.samples if s.path is not None}
    write_atomic(out / "report.html", render(run, samples=pictures))
    write_atomic(out / "run.json", dump_run(run))
    return run


def _last_look(setting: Setting, model: onnx.ModelProto, progress: Progress) -> Evaluation | None:
    final = setting.data.final
    if not final.samples or final.digest == setting.data.choice.digest:
        return None
    return setting.on(final, "test", progress).evaluate(model, progress)


def _options(setting: Setting) -> DataOptions:
    """Return what was found out of the data, so that the next command guesses nothing."""
    how, reading = setting.data.preprocess, setting.reference.reading
    known: dict[str, Any] = {} if how is None else {**asdict(how)}
    names = {f for f in DataOptions.model_fields if f not in ("kind", "name", "metric", "labels")}
    known = {name: value for name, value in known.items() if name in names and value is not None}
    labels = listed_classes(setting.options)
    kind = reading.kind if reading.kind != "custom" else None
    return DataOptions(
        **known,
        labels=labels or None,
        kind=kind,
        name=reading.output,
        threshold=reading.threshold if reading.kind == "logit" else None,
    )


def _record(
    asked: Asked,
    found: _Found,
    clock: Clock,
    content: bytes,
    wires: tuple[WireBytes, WireBytes],
    evaluations: tuple[Evaluation, Evaluation | None],
    speed: Speed,
) -> Run:
    setting, trained = asked.setting, found.trained
    (before, after), (validation, test) = wires, evaluations
    name = asked.student.name
    curve = tuple(trained.curve)
    reason = f"Epoch {trained.best + 1} of {len(curve)} is the best on val."
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
        versions={**versions(), **_torch_versions()},
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
        distillation=DistillationRecord(
            student=name,
            width=asked.student.width,
            size=found.size,
            weights=_weights(asked.student),
            parameters=found.parameters,
            opset=asked.opset,
            recipe=asked.recipe.decides(),
            augmentation=found.augmentation,
            planned=trained.planned,
            ended=trained.ended,
            best=trained.best + 1,
            curve=curve,
        ),
        timings=clock.stages,
        log=(_entry(asked, trained, wires, test or validation),),
    )


def _weights(student: Student) -> str:
    return (
        student.weights if student.weights in ("none", "imagenet") else Path(student.weights).name
    )


def _entry(
    asked: Asked, trained: Trained, wires: tuple[WireBytes, WireBytes], look: Evaluation
) -> LogEntry:
    last = trained.curve[-1]
    return LogEntry(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        operation=f"distill {asked.teacher.name} --student {asked.student.name}",
        result=f"{wires[0].brotli:,} to {wires[1].brotli:,} bytes br-11, {look.metric} drop "
        f"{look.drop:+.2f} points on {look.split} (95 % {look.interval.low:+.2f} to "
        f"{look.interval.high:+.2f})",
        notes=f"{len(trained.curve)} of {trained.planned} epochs ({trained.ended}), the best is "
        f"{trained.best + 1}; last loss {last.loss:.4f}, {look.metric} on val {last.score:.2%}",
    )


def _torch_versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "torchvision")}


def _command(asked: Asked, epochs: int) -> str:
    """Return the command line that repeats the run: with the epochs that were planned."""
    student, words = asked.student, ["sprat", "distill", asked.teacher.name]
    words += ["--data", asked.setting.data.source, "--out", asked.out.name]
    words += ["--student", student.name, "--epochs", str(epochs)]
    words += ["--minutes", f"{asked.recipe.minutes:g}", "--seed", str(asked.seed)]
    words += ["--opset", str(asked.opset), "--max-drop", f"{asked.max_drop:g}"]
    if student.width != 1:
        words += ["--width", f"{student.width:g}"]
    if student.size is not None:
        words += ["--student-size", "x".join(map(str, student.size))]
    if student.weights != "none":
        words += ["--weights", student.weights]
    if asked.limit is not None:
        words += ["--limit", str(asked.limit)]
    plain = Recipe()
    for field in fields(Recipe):
        value = getattr(asked.recipe, field.name)
        if field.name in ("epochs", "minutes") or value == getattr(plain, field.name):
            continue
        flag = field.name.replace("_", "-")
        words += [f"--{'no-' * (value is False)}{flag}"]
        words += [] if isinstance(value, bool) else [f"{value}"]
    return shlex.join(words)
