"""Refine a point: a short training against the original's answers, label-free.

Post-training methods choose each layer's integers by what they do to its own output, with the
others as they are. Here the steps and biases of all layers move together by the gradient of the
divergence at the model's **final** output; the integers, and with them the bytes, stay.

Sources: learned steps (Esser et al. 2020, arXiv 1902.08153); the original as the teacher (Hinton,
Vinyals and Dean 2015, arXiv 1503.02531). Different here: no labels, and no weight is trained.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR

from sprat.errors import OptionError, UnsupportedModelError
from sprat.evaluate.reading import MeanDivergence, Reading
from sprat.model.session import Feeds, Outputs, open_session, predict, run, samples_in
from sprat.model.wire import brotli_bytes
from sprat.parallel import cores
from sprat.progress import Progress, silent
from sprat.quantization.rate_distortion import LEAST_BATCHES, Form, Point, pack
from sprat.quantization.rate_distortion.engine import expanded
from sprat.quantization.rate_distortion.look import Look
from sprat.quantization.rate_distortion.measure import divided
from sprat.refinement.config import Refine
from sprat.refinement.distance import distance
from sprat.refinement.graph import Graph
from sprat.refinement.weights import Weights

#: Steps that are timed to plan the others, and the share of the time that the plan fills.
_TIMED = 3
_FILLED = 0.85
#: How often the held-out samples are looked at.
_LOOKS = 10
#: A point of more br-11 bytes than this share of the first one's is not taken.
_MOST_BYTES = 1.01
#: torch and ONNX Runtime may differ by so much, as a share of the largest output.
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Refined:
    """What came out.

    Attributes:
        point: The best point on the held-out samples; the given one where none was better.
        before: Divergence of the given point on the held-out samples.
        after: Of the best.
        bytes_before: br-11 bytes of the given point, packed.
        bytes_after: Of the best.
        steps: Steps that were taken; where they are all that were planned, they give the same bytes
            again as ``Refine.steps``.
        best: After how many of them the best was found; 0 for the given point.
        minutes: How long it took.
    """

    point: Point
    before: float
    after: float
    bytes_before: int
    bytes_after: int
    steps: int
    best: int
    minutes: float


def refine(
    model: onnx.ModelProto,
    point: Point,
    samples: Sequence[Feeds],
    reading: Reading,
    config: Refine,
    *,
    form: Form = "int8",
    limit: int | None = None,
    progress: Progress = silent,
    stop: Callable[[], bool] = lambda: False,
) -> Refined:
    """Refine a point on unlabelled samples.

    A quarter of the samples, 128 at most, is held out: on them the best of ten looks is chosen,
    which may be the point that was given.

    Args:
        model: The float model that the point was made from.
        point: The integers, steps and biases.
        samples: Calibration batches.
        reading: How the primary output is read.
        config: How long, and how boldly.
        form: How the point will be stored.
        limit: The most br-11 bytes in that form; 1 % more than the given point's by default.
        progress: Told how many steps are done.
        stop: Asked at each step; True ends with the best so far.

    Returns:
        The best point. Where ``config.steps`` is given, the same bytes every time on one machine
        and number of threads; else as many steps as fit into the time.

    Raises:
        OptionError: There are too few samples, or a value of ``config`` is out of its range.
        UnsupportedModelError: torch cannot execute the model, or answers otherwise.
    """
    config.check()
    if len(samples) < LEAST_BATCHES:
        raise OptionError(
            f"needs at least {LEAST_BATCHES} calibration batches, got {len(samples)}.",
            where="--refine",
        )
    with _threads():
        return _Refinement(model, point, samples, reading, config, form).run(limit, progress, stop)


@contextmanager
def _threads() -> Iterator[None]:
    """Use the cores that Sprat may use, and leave torch's setting as it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Refinement:
    def __init__(
        self,
        model: onnx.ModelProto,
        point: Point,
        samples: Sequence[Feeds],
        reading: Reading,
        config: Refine,
        form: Form,
    ) -> None:
        self._started = time.perf_counter()
        self._model, self._point, self._form = model, point, form
        self._reading, self._config = reading, config
        self._graph = Graph(model)
        self._fitted, held = divided(samples)
        self._session = open_session(model)
        self._names = [r.output for r in reading.deciding]
        self._answers: dict[int, Outputs] = {}
        wanted = list(predict(self._session, held, self._names))
        self._look = Look(model, held, wanted, MeanDivergence(reading))
        self._weights = Weights(point)

    def run(self, limit: int | None, progress: Progress, stop: Callable[[], bool]) -> Refined:
        self._check()
        before = self._look.at(expanded(self._point))
        size = self._size(self._point)
        most = _MOST_BYTES * size if limit is None else limit
        best, taken = (before, size, self._point, 0), 0
        planned = self._config.steps or self._plan(progress)
        for taken in self._learn(planned):
            progress("refining", taken, planned)
            late = self._config.steps is None and self._minutes() > self._config.minutes
            is_over = taken == planned or late or stop()
            if is_over or taken * _LOOKS // planned > (taken - 1) * _LOOKS // planned:
                point = self._weights.point()
                found = self._look.at(expanded(point))
                if found < best[0] and (weight := self._size(point)) <= most:
                    best = (found, weight, point, taken)
            if is_over:
                progress("refining", planned, planned)
                break
        return Refined(best[2], before, best[0], size, best[1], taken, best[3], self._minutes())

    def _minutes(self) -> float:
        return (time.perf_counter() - self._started) / 60

    def _size(self, point: Point) -> int:
        packed = pack(self._model, point, self._form)
        return brotli_bytes(packed.SerializeToString(deterministic=True))

    def _check(self) -> None:
        """Refuse a model that torch and ONNX Runtime do not answer alike."""
        with torch.no_grad():
            found = self._graph(self._fitted[0], {})
        wanted = self._answer(0, self._fitted[0])
        for name in self._names:
            self._check_output(name, found[name].numpy(), wanted[name])

    def _check_output(self, name: str, found: NDArray[Any], wanted: NDArray[Any]) -> None:
        gap = _largest(found - wanted) if found.shape == wanted.shape else math.inf
        if not gap <= _TOLERANCE * max(_largest(wanted), 1e-6):
            raise UnsupportedModelError(
                f"torch answers otherwise than ONNX Runtime, by {gap:.3g}.",
                where=name,
                hint="Leave --refine out: rate-distortion quantization works without.",
            )

    def _plan(self, progress: Progress) -> int:
        """Return how many steps fit into the time, by a few whose gradients are thrown away."""
        batches = self._batches()
        for i in range(_TIMED):
            if i == 1:  # the first one loads and allocates
                start = time.perf_counter()
            self._backward(next(batches))
            progress("timing a step", i + 1, _TIMED)
        step = (time.perf_counter() - start) / (_TIMED - 1)
        left = 60 * (self._config.minutes - self._minutes())
        return max(_LOOKS, int(_FILLED * left / step))

    def _learn(self, steps: int) -> Iterator[int]:
        """Take steps while they lead somewhere; yield how many were taken after each."""
        optimizer = self._weights.optimizer(self._config)
        schedule, batches = _one_cycle(optimizer, steps), self._batches()
        for step in range(1, steps + 1):
            optimizer.zero_grad()
            self._backward(next(batches))
            if not self._weights.is_led():
                return
            optimizer.step()
            schedule.step()
            yield step

    def _backward(self, numbers: Sequence[int]) -> None:
        """Add the gradients of the mean divergence over some batches."""
        feeds = [self._fitted[i] for i in numbers]
        total = sum(samples_in(f) for f in feeds)
        for i, batch in zip(numbers, feeds, strict=True):
            outputs = self._graph(batch, self._weights())
            wanted = self._answer(i, batch)
            gaps = [
                distance(wanted[r.output], outputs[r.output], r).sum()
                for r in self._reading.deciding
            ]
            (max(gaps, key=lambda gap: float(gap.detach())) / total).backward()

    def _answer(self, number: int, batch: Feeds) -> Outputs:
        """Return the original's answers on a batch, asked for once."""
        if number not in self._answers:
            self._answers[number] = run(self._session, batch, self._names)
        return self._answers[number]

    def _batches(self) -> Iterator[list[int]]:
        """Yield numbers of calibration batches without end, in a new order each time through."""
        generator = torch.Generator().manual_seed(self._config.seed)
        each = math.ceil(self._config.batch / samples_in(self._fitted[0]))
        waiting: list[int] = []
        while True:
            while len(waiting) < each:
                waiting += torch.randperm(len(self._fitted), generator=generator).tolist()
            taken, waiting = waiting[:each], waiting[each:]
            yield taken


def _one_cycle(optimizer: Optimizer, steps: int) -> OneCycleLR:
    """Return a schedule that rises to the optimizer's rates and falls (Smith 2018)."""
    rates = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(optimizer, rates, total_steps=steps + 1, cycle_momentum=False)


def _largest(values: NDArray[Any]) -> float:
    return float(np.abs(values).max(initial=0.0))
