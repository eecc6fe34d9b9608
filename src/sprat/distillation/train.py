"""The training: the same seed and number of threads give the same weights, killed or not."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from sprat.distillation import checkpoint
from sprat.distillation.augment import Augmentation
from sprat.distillation.configs import Recipe
from sprat.distillation.learner import Learner, Shaped, device_of
from sprat.distillation.losses import Loss
from sprat.distillation.views import Views
from sprat.errors import DataError, TrainingError
from sprat.evaluate.types import Evaluation
from sprat.parallel import cores
from sprat.progress import Progress
from sprat.record.schema import EpochRecord

Ended = Literal["epochs", "patience", "minutes", "interrupted"]
#: Measures the student's scores on val, ``[N, columns]``.
Validate = Callable[[Tensor], Evaluation]
#: Hears of each epoch, and how many seconds are probably left.
Told = Callable[[EpochRecord, float], None]

#: Steps that are timed to plan the epochs, after one that is not.
_TIMED = 4
#: Samples by which the normalization is measured before each validation, and in one batch.
_SETTLING, _SETTLED = 1024, 128
#: Share of the time that the plan fills: machines are not always as fast as at the start.
_FILLED = 0.9


@dataclass(frozen=True)
class Lesson:
    """What is learned.

    Attributes:
        views: The training samples: at the student's size, or at the teacher's if it is ``asked``.
        answers: The teacher's answers, one for each; None where it is asked on each view.
        labels: int64 ``[N]`` columns; -1 without.
        augment: Makes views.
        loss: Compares.
        asked: Answers views at the teacher's size.
        intake: From the teacher's size to the student's, where it is asked.
        val: The samples of val at the student's size.
        shaped: Brings the student's scores into the terms of the loss.
    """

    views: Views
    answers: Tensor | None
    labels: Tensor
    augment: Augmentation
    loss: Loss
    asked: Callable[[Tensor], Tensor] | None
    intake: nn.Module
    val: Views
    shaped: Shaped


@dataclass
class Trained:
    """What came out.

    Attributes:
        curve: A record an epoch.
        best: Index in it of the weights that were kept.
        planned: Epochs that were planned.
        ended: Why it ended.
    """

    curve: list[EpochRecord] = field(default_factory=list)
    best: int = -1
    planned: int = 0
    ended: Ended = "epochs"


def train(
    body: nn.Module,
    lesson: Lesson,
    recipe: Recipe,
    *,
    seed: int,
    state: Path,
    validate: Validate,
    minutes: float,
    progress: Progress,
    told: Told,
    stop: Callable[[], bool],
) -> Trained:
    """Teach a student; afterwards ``body`` holds the weights that were best on ``val``.

    Args:
        body: The student, ``[N, C, h, w]`` to ``[N, columns]``.
        lesson: What is learned.
        recipe: How.
        seed: Of the order of samples, the views and dropout; epoch by epoch, so that a resumed
            training draws what an unbroken one does.
        state: File of the state after each epoch; where a run of this user left one, the training
            goes on from it.
        validate: Measures scores on val.
        minutes: Time that is left for this.
        progress: Told how many steps are done.
        told: Told of each epoch.
        stop: Asked at each step; True ends with the best so far.

    Returns:
        The curve.

    Raises:
        TrainingError: The loss is no number any more.
        DataError: There are too few samples.
        OptionError: There is no such device.
    """
    if len(lesson.views) < 2:
        raise DataError(f"train has {len(lesson.views)} samples; a training needs two at least.")
    with _threads():
        return _Training(body, lesson, recipe, seed, state, validate).run(
            minutes, progress, told, stop
        )


@contextmanager
def _threads() -> Iterator[None]:
    """Use the cores that Sprat may use, and leave torch's settings as they were."""
    threads = torch.get_num_threads()
    torch.set_num_threads(cores())
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(threads)


class _Training:
    def __init__(
        self,
        body: nn.Module,
        lesson: Lesson,
        recipe: Recipe,
        seed: int,
        path: Path,
        validate: Validate,
    ) -> None:
        self._body, self._lesson, self._recipe = body, lesson, recipe
        self._seed, self._path, self._validate = seed, path, validate
        self._device = device_of(recipe.device)
        self._batch = min(recipe.batch, len(lesson.views))
        self._steps = len(lesson.views) // self._batch
        self._found = Trained()
        self._weights: dict[str, Tensor] = {}
        self._started = time.perf_counter()
        self._before = 0.0

    def run(
        self, minutes: float, progress: Progress, told: Told, stop: Callable[[], bool]
    ) -> Trained:
        kept = checkpoint.read(self._path)
        planned = kept["planned"] if kept else self._recipe.epochs or self._plan(minutes, progress)
        learner = Learner(self._body, self._recipe, self._device, planned * self._steps)
        found = self._found
        found.planned = planned
        if kept is not None:
            learner.restore(kept["learner"])
            found.curve = [EpochRecord.model_validate(row) for row in kept["curve"]]
            found.best, self._weights = kept["best"], kept["weights"]
            self._before = kept["seconds"]
        while len(found.curve) < planned:
            if self._is_over(minutes, stop) or self._has_no_patience():
                break
            if not self._epoch(learner, minutes, progress, told, stop):
                break
        if not self._weights:
            self._close(learner, None, progress, told)
        self._body.load_state_dict(self._weights)
        self._body.to("cpu", memory_format=torch.contiguous_format).eval()
        return found

    def _seconds(self) -> float:
        return self._before + time.perf_counter() - self._started

    def _is_over(self, minutes: float, stop: Callable[[], bool]) -> bool:
        late = self._seconds() > minutes * 60
        if late or stop():
            self._found.ended = "minutes" if late else "interrupted"
            return True
        return False

    def _has_no_patience(self) -> bool:
        patience, found = self._recipe.patience, self._found
        if patience is None or len(found.curve) - 1 - found.best < patience:
            return False
        found.ended = "patience"
        return True

    def _epoch(
        self,
        learner: Learner,
        minutes: float,
        progress: Progress,
        told: Told,
        stop: Callable[[], bool],
    ) -> bool:
        """Go once through the samples; return False where that was cut short."""
        number, start = len(self._found.curve) + 1, time.perf_counter()
        learner.body.train()
        sums, total = torch.zeros(3), self._steps * self._found.planned
        for step, parts in enumerate(self._steps_of(learner, number), 1):
            sums += parts.cpu()
            if not math.isfinite(float(sums[0])):
                raise TrainingError(
                    f"the loss is no number any more in epoch {number}.",
                    hint="Take a lower --rate.",
                )
            progress("training", self._steps * (number - 1) + step, total)
            if step < self._steps and self._is_over(minutes, stop):
                return False
        means = (sums / self._steps).tolist()
        self._close(learner, (means, start), progress, told)
        return True

    def _steps_of(self, learner: Learner, epoch: int) -> Iterator[Tensor]:
        """Take the steps of an epoch; all randomness comes from the seed and its number."""
        torch.manual_seed(self._seed * 1_000_003 + epoch)
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
        order = torch.randperm(len(self._lesson.views), generator=generator)
        for rows in order[: self._steps * self._batch].split(self._batch):
            yield self._step(learner, rows, generator)

    def _step(self, learner: Learner, rows: Tensor, generator: torch.Generator) -> Tensor:
        lesson = self._lesson
        x = lesson.augment(lesson.views[rows.tolist()], generator)
        if lesson.answers is not None:
            answers = lesson.answers[rows]
        else:
            assert lesson.asked is not None
            answers = lesson.asked(x)
            with torch.no_grad():
                x = lesson.intake(x)
        return learner.learn(x, answers, lesson.labels[rows], lesson.shaped, lesson.loss)

    def _measured(self, learner: Learner, progress: Progress) -> Evaluation:
        """Measure the averaged student on val."""
        learner.settle(self._seen())
        return self._validate(learner.scores(self._lesson.val, progress))

    def _seen(self) -> Iterator[Tensor]:
        """Yield views of samples of train, evenly: the weights are those that suit views."""
        lesson, count = self._lesson, len(self._lesson.views)
        generator = torch.Generator().manual_seed(self._seed)
        rows = np.linspace(0, count - 1, min(count, _SETTLING)).astype(int)
        batches = math.ceil(len(rows) / _SETTLED)
        for i in range(batches):  # from all over the set, which may lie in the order of its classes
            x = lesson.augment(lesson.views[rows[i::batches].tolist()], generator)
            with torch.no_grad():
                yield x if lesson.asked is None else lesson.intake(x)

    def _close(
        self,
        learner: Learner,
        epoch: tuple[list[float], float] | None,
        progress: Progress,
        told: Told,
    ) -> None:
        """Validate, remember the best, and keep the state; without an epoch only the first two."""
        found = self._found
        evaluation = self._measured(learner, progress)
        means, start = epoch or ([math.nan] * 3, time.perf_counter())
        found.curve.append(
            EpochRecord(
                epoch=len(found.curve) + 1,
                loss=means[0],
                soft=means[1],
                hard=means[2],
                rate=float(learner.optimizer.param_groups[0]["lr"]),
                score=evaluation.model,
                agreement=evaluation.agreement,
                divergence=evaluation.error.divergence,
                seconds=time.perf_counter() - start,
            )
        )
        if found.best < 0 or _merit(found.curve[-1]) > _merit(found.curve[found.best]):
            found.best = len(found.curve) - 1
            self._weights = copy.deepcopy(learner.mean.module.state_dict())
        if epoch is None:
            return
        checkpoint.write(
            self._path,
            {
                "planned": found.planned,
                "learner": learner.state(),
                "curve": [row.model_dump() for row in found.curve],
                "best": found.best,
                "weights": self._weights,
                "seconds": self._seconds(),
            },
        )
        left = (found.planned - len(found.curve)) * found.curve[-1].seconds
        told(found.curve[-1], left)

    def _plan(self, minutes: float, progress: Progress) -> int:
        """Time a few steps and one validation on a copy; return how many epochs fit."""
        trial = Learner(copy.deepcopy(self._body), self._recipe, self._device, 10 * _TIMED)
        steps = min(_TIMED + 1, self._steps)
        generator = torch.Generator().manual_seed(self._seed)
        order = torch.arange(len(self._lesson.views))
        trial.body.train()
        progress("timing a step", 0, steps)
        start = time.perf_counter()
        for i, rows in enumerate(order.split(self._batch)[:steps]):
            self._step(trial, rows, generator)
            progress("timing a step", i + 1, steps)
            if i == 0 and steps > 1:
                start = time.perf_counter()
        step = (time.perf_counter() - start) / max(1, steps - 1)
        start = time.perf_counter()
        self._measured(trial, progress)
        epoch = self._steps * step + time.perf_counter() - start
        left = minutes * 60 - self._seconds()
        return max(1, int(_FILLED * left / epoch))


def _merit(epoch: EpochRecord) -> tuple[float, float]:
    return epoch.score, -epoch.divergence
