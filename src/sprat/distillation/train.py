"""The training: the same seed and number of threads give the same weights, killed or not."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sprat.distillation import checkpoint
from sprat.distillation.augment import Augmentation
from sprat.distillation.configs import Recipe
from sprat.distillation.losses import Loss
from sprat.distillation.views import Views
from sprat.errors import DataError, OptionError, TrainingError
from sprat.evaluate.types import Evaluation
from sprat.parallel import cores
from sprat.progress import Progress
from sprat.record.schema import EpochRecord

Ended = Literal["epochs", "patience", "minutes", "interrupted"]
#: Measures the student's scores on val, ``[N, columns]``.
Validate = Callable[[Tensor], Evaluation]
#: Hears of each epoch, and how many seconds are probably left.
Told = Callable[[EpochRecord, float], None]

#: Samples in one run of validation.
_BATCH = 256
#: Steps that are timed to plan the epochs, after one that is not.
_TIMED = 4
#: Share of the time that the plan fills: machines are not always as fast as at the start.
_FILLED = 0.9
_FINAL_DIVISOR = 1e3


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
    shaped: Callable[[Tensor], Tensor]


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
        state: File of the state after each epoch; where it is there, the training goes on from it.
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
        OptionError: There is no such device, or the state is damaged.
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


class _Learner:
    """A student with all that changes while it learns."""

    def __init__(self, body: nn.Module, recipe: Recipe, device: torch.device, steps: int) -> None:
        self.body = body.to(device, memory_format=torch.channels_last)
        self.device = device
        self.optimizer = _optimizer(self.body, recipe)
        self.schedule = _schedule(self.optimizer, recipe, steps)
        self.mixed = device.type == "cuda"
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.mixed)
        self.mean = AveragedModel(body, multi_avg_fn=_mean_of(recipe.ema), use_buffers=True)

    def learn(self, x: Tensor, answers: Tensor, labels: Tensor, lesson: Lesson) -> Tensor:
        """Take one step; return the loss and its two parts, ``[3]``."""
        x = x.to(self.device, memory_format=_format(x), non_blocking=True)
        with torch.autocast(self.device.type, dtype=torch.float16, enabled=self.mixed):
            scores = self.body(x)
        parts = lesson.loss(
            lesson.shaped(scores.float()), answers.to(self.device), labels.to(self.device)
        )
        self.optimizer.zero_grad()
        self.scaler.scale(parts.total).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        self.mean.update_parameters(self.body)
        return torch.stack([part.detach() for part in parts])

    def scores(self, views: Views, progress: Progress) -> Tensor:
        """Return the averaged student's scores on a set, ``[N, columns]``."""
        self.mean.eval()
        found = []
        with torch.no_grad():
            for start in range(0, len(views), _BATCH):
                x = views[range(start, min(start + _BATCH, len(views)))]
                x = x.to(self.device, memory_format=_format(x))
                found.append(self.mean(x).float().cpu())
                progress("validating", min(start + _BATCH, len(views)), len(views))
        return torch.cat(found)

    def state(self) -> dict[str, Any]:
        """Return all that a resumed training needs."""
        return {
            "body": self.body.state_dict(),
            "mean": self.mean.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take a state in."""
        self.body.load_state_dict(state["body"])
        self.mean.load_state_dict(state["mean"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])


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
        self._device = _device(recipe.device)
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
        learner = _Learner(self._body, self._recipe, self._device, planned * self._steps)
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
        learner: _Learner,
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
            if self._is_over(minutes, stop):
                return False
        means = (sums / self._steps).tolist()
        self._close(learner, (means, start), progress, told)
        return True

    def _steps_of(self, learner: _Learner, epoch: int) -> Iterator[Tensor]:
        """Take the steps of an epoch; all randomness comes from the seed and its number."""
        torch.manual_seed(self._seed * 1_000_003 + epoch)
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
        order = torch.randperm(len(self._lesson.views), generator=generator)
        for rows in order[: self._steps * self._batch].split(self._batch):
            yield self._step(learner, rows, generator)

    def _step(self, learner: _Learner, rows: Tensor, generator: torch.Generator) -> Tensor:
        lesson = self._lesson
        x = lesson.augment(lesson.views[rows.tolist()], generator)
        if lesson.answers is not None:
            answers = lesson.answers[rows]
        else:
            assert lesson.asked is not None
            answers = lesson.asked(x)
            with torch.no_grad():
                x = lesson.intake(x)
        return learner.learn(x, answers, lesson.labels[rows], lesson)

    def _close(
        self,
        learner: _Learner,
        epoch: tuple[list[float], float] | None,
        progress: Progress,
        told: Told,
    ) -> None:
        """Validate, remember the best, and keep the state; without an epoch only the first two."""
        found = self._found
        evaluation = self._validate(learner.scores(self._lesson.val, progress))
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
        trial = _Learner(copy.deepcopy(self._body), self._recipe, self._device, 10 * _TIMED)
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
        self._validate(trial.scores(self._lesson.val, progress))
        epoch = self._steps * step + time.perf_counter() - start
        left = minutes * 60 - self._seconds()
        return max(1, int(_FILLED * left / epoch))


def _merit(epoch: EpochRecord) -> tuple[float, float]:
    return epoch.score, -epoch.divergence


def _format(x: Tensor) -> torch.memory_format:
    return torch.channels_last if x.ndim == 4 else torch.contiguous_format


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = next(iter(str(error).splitlines()), name)
        raise OptionError(f"cannot be used ({reason}).", where=f"--device {name}") from error
    return device


def _optimizer(body: nn.Module, recipe: Recipe) -> Optimizer:
    """Return the optimizer; what has one axis (biases, normalization) is not decayed."""
    weights = [p for p in body.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in body.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": recipe.decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if recipe.optimizer == "adamw":
        return AdamW(groups, lr=recipe.highest_rate, fused=True)
    return SGD(groups, lr=recipe.highest_rate, momentum=0.9, nesterov=True)


def _schedule(optimizer: Optimizer, recipe: Recipe, steps: int) -> LRScheduler:
    if recipe.schedule == "cosine":
        return CosineAnnealingLR(optimizer, steps)
    return OneCycleLR(
        optimizer, recipe.highest_rate, total_steps=steps + 1, final_div_factor=_FINAL_DIVISOR
    )


def _mean_of(decay: float) -> Callable[..., None]:
    """Return a running mean that forgets its first steps: the decay grows to its full value.

    Args:
        decay: Of a step, in the end (Polyak and Juditsky 1992; the ramp as in Tan and Le 2019).
    """

    def update(mean: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        steps = int(count)
        now = min(decay, (1 + steps) / (10 + steps))
        get_ema_multi_avg_fn(now)(mean, current, count)

    return update
