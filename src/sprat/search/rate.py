"""Walk along the rate-distortion curve to the budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx

from sprat.data.dataset import Batches, Dataset
from sprat.errors import ConstantAnswerError, NoGainError, OptionError
from sprat.evaluate.reading import MeanDivergence
from sprat.evaluate.types import Evaluation
from sprat.model.session import Feeds
from sprat.model.wire import brotli_bytes
from sprat.parallel import ordered_map
from sprat.quantization.configs import Static, describe
from sprat.quantization.rate_distortion import (
    LEAST_BATCHES,
    TYPICAL,
    Form,
    Point,
    Prepared,
    integer_graph,
    pack,
    prepare,
)
from sprat.quantization.rate_distortion.layers import find_layers
from sprat.search.budget import standard_error
from sprat.search.candidates import Bench, Trial
from sprat.search.demand import caution, demand, expected
from sprat.spread import ALONE, Spread, Task

METHOD = "rate-distortion"
STATIC_METHOD = "rate-distortion-static"
#: Calibration samples for the second moments.
SAMPLES = 1024
_LEAST_BATCHES = 8
#: The walk ends when the bracket around the budget is this narrow, or when a point that holds
#: leaves less than this share of the budget unused.
_NARROW = 1.1
_LEFT = 0.1
_AIM = 1 - _LEFT / 2
#: How far into the bracket the next point may lie, as shares of its logarithm: the line through
#: its ends says where, but they are noisy.
_INSIDE = (0.3, 0.7)
#: A preview need not be so near its limit.
_NARROW_PREVIEW = 1.2
#: It is looked for by how bytes fall with the rate: about as its power of -0.4.
_RATE_PER_BYTES = 2.5
_UNDER = 0.93
_MOST_STRIDE = 32.0
_STRIDE = 2.0
#: Upwards at least so far: what a point leaves of the budget is known to a standard error only,
#: and a shorter step is a minute spent on a few per cent of bytes.
_LEAST_STRIDE = 1.4
#: Halving the price adds fewer bytes than this factor where the steps are as fine as int8 allows:
#: lower prices then buy nothing.
_FINEST = 1.02
_MOST_POINTS = 10
_FAST_STRIDE = 1.5
_MOST_FAST = 5


@dataclass
class Curve:
    """Points on one model's curve, made and measured when asked for.

    Attributes:
        bench: Measures.
        samples: Calibration batches.
        form: How the integers are stored.
        trials: Rate to trial.
        constant: Rates of points that are no better than a constant answer: too high, whatever
            their bytes.
    """

    bench: Bench
    samples: Sequence[Feeds]
    form: Form | None = None
    trials: dict[float, Trial] = field(default_factory=dict)
    constant: set[float] = field(default_factory=set)
    _prepared: Prepared | None = None
    _points: dict[float, Point] = field(default_factory=dict)

    @property
    def prepared(self) -> Prepared:
        """The measured layers; measuring takes most of the time, so it waits until needed."""
        if self._prepared is None:
            self._prepared = prepare(
                self.bench.clean,
                self.samples,
                MeanDivergence(self.bench.reference.reading),
                seed=self.bench.seed,
                progress=self.bench.progress,
                spread=self.bench.spread,
            )
        return self._prepared

    @property
    def evaluations(self) -> list[Evaluation]:
        """Of all points that could be measured."""
        found = [trial.record.evaluation for trial in self.trials.values()]
        return [e for e in found if e is not None]

    def point(self, rate: float) -> Point:
        """Return the integers at one rate."""
        if rate not in self._points:
            self._points = {rate: self.prepared.quantize(rate, self.bench.progress)}
        return self._points[rate]

    def trial(self, rate: float) -> Trial:
        """Make and measure the point at one rate, once."""
        if rate not in self.trials:
            form = self._form(rate)
            self.trials[rate] = self.bench.measure(
                f"rate-{rate:.3g}",
                METHOD,
                {"rate": float(f"{rate:.6g}"), "form": form, "samples": len(self.samples)},
                lambda: self._packed(rate, form),
                exact=True,
            )
        return self.trials[rate]

    def _packed(self, rate: float, form: Form) -> onnx.ModelProto:
        """Return the model of a point.

        Raises:
            ConstantAnswerError: It is no better than a constant answer.
        """
        point = self.point(rate)
        try:
            self.prepared.refuse_constant(point)
        except ConstantAnswerError:
            self.constant.add(rate)
            raise
        return pack(self.bench.clean, point, form)

    def fast_trial(self, rate: float) -> Trial:
        """Make and measure the same integers inside an integer graph (U8 activations)."""
        config = Static()
        return self.bench.measure(
            f"static-rate-{rate:.3g}",
            STATIC_METHOD,
            {"rate": rate, "samples": len(self.samples), **describe(config)},
            lambda: integer_graph(
                self.bench.clean, self.point(rate), self.bench.samples, config, self.bench.progress
            ),
            exact=True,
        )

    def _form(self, rate: float) -> Form:
        """Choose how the integers are stored by the bytes of the first point."""
        if self.form is None:
            key = {"form": f"{rate:.6g}", "samples": len(self.samples)}
            kept = self.bench.store.content(
                key,
                lambda: smallest_form(
                    self.bench.clean, self.point(rate), self.bench.spread
                ).encode(),
            )
            self.form = "int4" if kept == b"int4" else "int8"
        return self.form


@dataclass(frozen=True, eq=False)
class _Sizing(Task[range, int]):
    """Yields the br-11 bytes of files that are given by their numbers."""

    files: tuple[bytes, ...]

    def __call__(self, numbers: range) -> Iterator[int]:
        return ordered_map(lambda number: brotli_bytes(self.files[number]), numbers)


def smallest_form(model: onnx.ModelProto, point: Point, spread: Spread = ALONE) -> Form:
    """Return the form of a point that costs the fewest br-11 bytes."""
    forms: tuple[Form, ...] = ("int8", "int4")
    files = (pack(model, point, form).SerializeToString(deterministic=True) for form in forms)
    sizes = spread.flat(_Sizing(tuple(files)), spread.pieces(len(forms), 1))
    return min(zip(sizes, forms, strict=True))[1]


@dataclass(frozen=True)
class _Evenly:
    """Reads the batch of a number; a class and no closure, so that it can travel."""

    dataset: Dataset
    chosen: tuple[int, ...]
    each: int

    def __call__(self, number: int) -> Feeds:
        return self.dataset.batch(self.chosen[number * self.each : (number + 1) * self.each])


def calibration_batches(
    dataset: Dataset, size: int, *, fixed: bool, count: int = SAMPLES
) -> Batches:
    """Return evenly spread samples in batches that the model takes, each read when asked for.

    Args:
        dataset: The calibration samples.
        size: Samples in one run.
        fixed: The model takes no other number; otherwise small sets come in smaller batches.
        count: At most so many samples.
    """
    total = len(dataset.samples)
    taken = min(count, total)
    chosen = tuple(i * total // taken for i in range(taken))
    if dataset.is_ragged:  # each sample fills a run
        chosen, taken = tuple(i for i in chosen for _ in range(size)), taken * size
        fixed = True
    each = size if fixed else max(1, min(size, taken // _LEAST_BATCHES))
    return Batches(_Evenly(dataset, chosen, each), range(taken // each))


def walk(curve: Curve, max_drop: float, stop: Callable[[], bool]) -> list[Trial]:
    """Walk to the cheapest point that holds the budget.

    The price of a bit is raised while the budget holds, by a factor of 1.4 to 2, and lowered while
    it does not, by 2 at most; then the bracket is narrowed where the line through its ends meets
    the budget.
    A student spends a part of the budget before any quantization: the walk is about the rest, and
    ends with its first point where there is none.
    Whether a point holds is judged by its own paired drop and by the drop that its divergence
    foretells, from a line through the points around it: the divergence is far less noisy than a
    few flipped answers, so no lucky draw ends the walk.

    Args:
        curve: Makes and measures points.
        max_drop: The budget in points.
        stop: Says whether time is up; a step under way is then given up.

    Returns:
        The trials, in the order of their making, with outcomes by the same judgement.
    """
    weights = sum(math.prod(layer.shape) for layer in find_layers(curve.bench.clean))
    enough = len(curve.samples) >= LEAST_BATCHES
    rate: float | None = _rounded(TYPICAL / weights) if weights and enough else None
    with curve.bench.progress.until(stop):
        while rate is not None and not stop() and len(curve.trials) < _MOST_POINTS:
            if curve.trial(rate).record.evaluation is None and rate not in curve.constant:
                break
            rate = _next(curve, max_drop)
    return [_judged(curve, trial, max_drop) for trial in curve.trials.values()]


def _next(curve: Curve, max_drop: float) -> float | None:
    """Return the rate to try next, by what is known of all points; None at the end.

    A point's judgement changes as others are added, so the bracket is found anew each time.
    """
    spent = _spent(curve)
    if spent > max_drop:
        return None
    room = max(max_drop - spent, 1e-9)
    used = {r: (_demand(curve, t) - spent) / room for r, t in sorted(curve.trials.items())}
    rates = list(used)
    held = [rate for rate in rates if used[rate] <= 1]
    if not held:
        sizes = [t.record.wire.brotli for r in rates if (t := curve.trials[r]).record.wire]
        finest = len(sizes) > 1 and sizes[0] < _FINEST * sizes[1]
        return None if finest else _rounded(rates[0] * _step(used[rates[0]]))
    low, above = held[-1], [rate for rate in rates if rate > held[-1]]
    if used[low] >= 1 - _LEFT:
        return None
    if not above:
        return _rounded(low * max(_LEAST_STRIDE, _step(used[low])))
    high = above[0]
    if high <= _NARROW * low:
        return None
    share = (_AIM - used[low]) / max(used[high] - used[low], 1e-9)
    return _rounded(low * (high / low) ** float(np.clip(share, *_INSIDE)))


def _step(used: float) -> float:
    """Return the factor on a rate that probably uses the budget up, within the stride."""
    return float(np.clip((_AIM / max(used, 1e-9)) ** 2, 1 / _STRIDE, _STRIDE))


def walk_fast(curve: Curve, found: Sequence[Trial], stop: Callable[[], bool]) -> list[Trial]:
    """Put the integers of the cheapest point that holds into an integer graph.

    Quantized activations cost some accuracy of their own, so the rate is lowered until the budget
    holds.

    Args:
        curve: Makes and measures points.
        found: What :func:`walk` returned.
        stop: Says whether time is up.

    Returns:
        The trials.
    """
    held = [t for t in found if t.record.outcome == "within budget"]
    if not held:
        return []
    rate = max(float(str(t.record.options["rate"])) for t in held)
    trials: list[Trial] = []
    with curve.bench.progress.until(stop):
        while not stop() and len(trials) < _MOST_FAST:
            trials.append(curve.fast_trial(rate))
            if trials[-1].record.outcome != "over budget":
                break
            rate = _rounded(rate / _FAST_STRIDE)
    return trials


def _rounded(rate: float) -> float:
    """Keep six digits, so that a rate read back from the record makes the same bytes."""
    return float(f"{rate:.6g}")


def _holds(curve: Curve, trial: Trial, max_drop: float) -> bool:
    return _demand(curve, trial) <= max_drop


def _demand(curve: Curve, trial: Trial) -> float:
    """Return how large a budget a point needs, in points; none suffices for a constant answer."""
    if trial.record.evaluation is None:
        return math.inf
    return demand(trial.record.evaluation, curve.evaluations, curve.bench.own)


def _spent(curve: Curve) -> float:
    """Return the budget that what is made small needs before any quantization."""
    own = curve.bench.own
    return 0.0 if own is None else demand(own, curve.evaluations, own)


def _judged(curve: Curve, trial: Trial, max_drop: float) -> Trial:
    evaluation = trial.record.evaluation
    if evaluation is None:
        return trial
    if _holds(curve, trial, max_drop):
        update = {"outcome": "within budget"}
    else:
        drop = expected(evaluation, curve.evaluations, curve.bench.own)
        times = "two standard errors of" if caution(evaluation) > 1 else "standard error"
        note = f"expected drop {drop:.2f} plus {times} {standard_error(evaluation):.2f}"
        update = {"outcome": "over budget", "note": note}
    return Trial(trial.record.model_copy(update=update), trial.model)


def smallest_under(
    curve: Curve, limit: int, stop: Callable[[], bool], *, where: str = "--preview"
) -> Trial:
    """Find the best point under so many br-11 bytes, such as a preview model.

    Args:
        curve: Makes and measures points. Where it has some, none finer than the coarsest of them
            is looked for: a preview is smaller than the model behind it.
        limit: br-11 bytes.
        stop: Says whether time is up.
        where: The option that asked for it, for the error.

    Returns:
        The trial with the least divergence that fits.

    Raises:
        NoGainError: The model has no layer that can be quantized so.
        OptionError: No point fits.
    """
    weights = sum(math.prod(layer.shape) for layer in find_layers(curve.bench.clean))
    if not weights:
        raise NoGainError("rate-distortion quantization found no Conv, Gemm or MatMul weights.")
    fresh = not curve.trials
    first = max(set(curve.trials) - curve.constant, default=_rounded(TYPICAL / weights))
    if _coarser(curve, first, limit, stop) == first and fresh:
        _finer(curve, first, limit, stop)
    small = [rate for rate in curve.trials if _size(curve, rate) <= limit]
    if not small:
        raise _nothing_under(limit, where, late=stop())
    low, high = max((r for r in curve.trials if r < min(small)), default=0.0), min(small)
    while not stop() and low > 0 and high > _NARROW_PREVIEW * low:
        middle = _rounded((low * high) ** 0.5)
        if _size(curve, middle) <= limit:
            high = middle
        else:
            low = middle
    if high in curve.constant:
        note = curve.trial(high).record.note
        raise _nothing_under(limit, where, late=stop(), hint=f"Coarser ones are none: {note}")
    return curve.trial(high)


def _nothing_under(limit: int, where: str, *, late: bool, hint: str = "") -> OptionError:
    when = " was found before time was up" if late else " is on the curve"
    return OptionError(f"no point of {limit:,} bytes or fewer{when}.", where=where, hint=hint)


def _coarser(curve: Curve, rate: float, limit: int, stop: Callable[[], bool]) -> float:
    """Raise the price of a bit until a point fits; return the last one tried."""
    most = len(curve.trials) + 3 * _MOST_POINTS
    while not stop() and _size(curve, rate) > limit and len(curve.trials) < most:
        wanted = (_size(curve, rate) / (_UNDER * limit)) ** _RATE_PER_BYTES
        rate = _rounded(rate * float(np.clip(wanted, _STRIDE, _MOST_STRIDE)))
    return rate


def _finer(curve: Curve, rate: float, limit: int, stop: Callable[[], bool]) -> None:
    """Lower the price of a bit until a point is near the limit or above it."""
    while not stop() and _size(curve, rate) < _UNDER * limit:
        before = _size(curve, rate)
        wanted = (before / limit) ** _RATE_PER_BYTES
        rate = _rounded(rate * float(np.clip(wanted, 1 / _MOST_STRIDE, 1 / _LEAST_STRIDE)))
        if _size(curve, rate) < _FINEST * before:
            return


def _size(curve: Curve, rate: float) -> int:
    """Return a point's br-11 bytes; 0 where it is too coarse to answer anything."""
    wire = curve.trial(rate).record.wire
    if rate in curve.constant:
        return 0
    return wire.brotli if wire is not None else 1 << 62
