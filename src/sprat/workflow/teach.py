"""From the teacher's answers to the student's file: the part of ``distill`` that needs torch."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from sprat.data.dataset import Dataset
from sprat.distillation.augment import augmentation
from sprat.distillation.configs import Student
from sprat.distillation.contract import Contract, Terms, contract_of
from sprat.distillation.export import check_opset, export
from sprat.distillation.frame import Whole, intake_of
from sprat.distillation.losses import Loss
from sprat.distillation.students import build, parameters
from sprat.distillation.teacher import Teacher
from sprat.distillation.train import Lesson, Told, train
from sprat.distillation.views import Views
from sprat.errors import OptionError
from sprat.files import sha256
from sprat.model.inspect import fixed_batch
from sprat.model.load import sha256_model
from sprat.progress import Progress
from sprat.record.versions import versions
from sprat.workflow.budget import Clock
from sprat.workflow.setting import Setting
from sprat.workflow.student import Asked, Found

__all__ = ["check_opset", "contract_with", "outlined", "teach"]

#: Samples on which the export is held against torch.
_CHECKED = 8
#: Training pictures that are looked at to choose the augmentation.
_LOOKED_AT = 64


def teach(
    asked: Asked,
    clock: Clock,
    progress: Progress,
    told: Told,
    stop: Callable[[], bool],
    states: Path | None = None,
) -> Found:
    """Ask the teacher, teach the student, export it.

    Args:
        asked: What was asked for.
        clock: Seconds by stage.
        progress: Told how far the work is.
        told: Told of each epoch.
        stop: Asked at each step; True ends the training.
        states: Folder for the state after each epoch; beside the teacher's answers by default.

    Returns:
        The student.

    Raises:
        InputError: The teacher, the data or an option does not fit.
        TrainingError: The training leads nowhere.
        ExportError: The export is not what was asked for.
    """
    setting, recipe = asked.setting, asked.recipe
    train_set, preprocess = setting.data.train, setting.data.preprocess
    assert train_set is not None
    contract = contract_with(setting)
    terms = Terms(contract)
    labels = terms.columns_of([sample.label for sample in train_set.samples])
    intake = intake_of(contract, asked.student, preprocess)
    size, channels = _looked_at(contract, asked.student)
    with torch.random.fork_rng():
        torch.manual_seed(asked.seed)
        body, notes = build(asked.student, contract.columns, channels, size)
    _try_out(body, intake, contract, train_set)
    whole = Whole(contract, intake, body)
    fixed = fixed_batch(setting.model)
    alone = 1 if setting.reference.size == 1 else None
    teacher = Teacher(contract, fixed or alone, asked.out / ".work" / f"answers-{_answers(asked)}")
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
            state=(states or asked.out / ".work") / f"training-{_key(asked, body)}.pt",
            validate=lambda scores: setting.reference.compare(
                {contract.output: whole.finish(scores).numpy()}
            ),
            minutes=recipe.minutes - (time.perf_counter() - clock.started) / 60,
            progress=progress,
            told=told,
            stop=stop,
        )
    with clock.stage("export"):
        looked_at = fixed or min(_CHECKED, len(setting.data.choice.samples))
        rows = [i % len(setting.data.choice.samples) for i in range(looked_at)]
        model = export(whole.eval(), contract, setting.data.choice.batch(rows), asked.opset)
    count = sum(p.numel() for p in body.parameters())
    return Found(model, trained, count, size, augmentation_name, notes)


def contract_with(setting: Setting) -> Contract:
    """Return the teacher's input and output, as its data is read."""
    how = setting.data.preprocess
    layout = how.layout if how is not None else setting.options.layout or "nchw"
    reference = setting.reference
    feeds = setting.data.choice.batch([0])
    return contract_of(setting.model, reference.reading, feeds, reference.outputs, layout)


def outlined(setting: Setting, student: Student) -> tuple[int, tuple[int, ...]]:
    """Return a student's parameters, and the height and width that it would look at.

    Nothing is downloaded: which weights it would begin with makes no difference.

    Raises:
        InputError: The teacher cannot be taught from, or there is no such student.
    """
    contract = contract_with(setting)
    size, channels = _looked_at(contract, student)
    plain = replace(student, weights="none")
    return parameters(plain, contract.columns, channels, size), size


def _looked_at(contract: Contract, student: Student) -> tuple[tuple[int, ...], int]:
    """Return the height and width that a student looks at, and its channels."""
    size = student.size or (contract.shape[-2:] if contract.layout else ())
    return tuple(size), contract.shape[0] if contract.shape else 1


def _try_out(body: nn.Module, intake: nn.Module, contract: Contract, train_set: Dataset) -> None:
    """Run a student once before anything takes long: it may not take this input at all."""
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
            hint="Its function is told how many outputs there must be: columns.",
        )


def _answers(asked: Asked) -> str:
    """Return what the teacher's answer to a sample depends on, besides the sample."""
    setting = asked.setting
    parts = (
        sha256_model(asked.teacher),
        repr(setting.data.preprocess),
        setting.reference.reading.output,
        versions()["onnxruntime"],
    )
    return sha256(repr(parts).encode())[:16]


def _key(asked: Asked, body: nn.Module) -> str:
    """Return what the student's weights depend on."""
    setting = asked.setting
    assert setting.data.train is not None
    first = hashlib.sha256(str(body).encode())
    for name, value in body.state_dict().items():
        first.update(name.encode() + value.contiguous().numpy().tobytes())
    parts = (
        _answers(asked),
        first.hexdigest(),
        setting.data.train.digest,
        setting.data.choice.digest,
        repr(setting.reference.reading),
        setting.options.metric,
        sha256(setting.reference.scores.tobytes()),  # a metric's code may be edited
        asdict(asked.student),
        asked.recipe.decides(),
        asked.recipe.minutes if asked.recipe.epochs is None else None,  # they decide the epochs
        asked.seed,
        [version(name) for name in ("torch", "torchvision", "sprat")],
    )
    return sha256(repr(parts).encode())[:16]
