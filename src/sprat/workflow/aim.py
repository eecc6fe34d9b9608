"""A point on the rate-distortion curve by hand: aimed at, and refined if that is asked for."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from sprat.errors import NoGainError, OptionError
from sprat.evaluate.constant import check_budget
from sprat.graph.precision import in_float32
from sprat.graph.simplify import simplify
from sprat.model.nodes import name_nodes
from sprat.model.session import Feeds
from sprat.progress import Progress, Watch
from sprat.quantization.rate_distortion import LEAST_BATCHES, Form, Point, at_bits, pack
from sprat.refinement.config import MOST_SAMPLES, Refine
from sprat.search.budget import holds
from sprat.search.candidates import Bench, Trial
from sprat.search.rate import Curve, smallest_under, walk
from sprat.search.store import Store
from sprat.workflow.line import batches_of
from sprat.workflow.setting import Setting


@dataclass(frozen=True)
class Target:
    """What ``rate-distortion`` aims at: exactly one of the three.

    Attributes:
        bits_per_weight: Order-0 entropy of a weight.
        max_drop: The fewest bytes within so many points on ``val``.
        max_bytes: The least divergence under so many br-11 bytes.
        where: The option that gave ``max_bytes``.
    """

    bits_per_weight: float | None = None
    max_drop: float | None = None
    max_bytes: int | None = None
    where: str = "--max-bytes"

    def check(self) -> None:
        """Refuse none or several, and what makes no sense.

        Raises:
            OptionError: Not exactly one is given, or it is out of its range.
        """
        given = [v for v in (self.bits_per_weight, self.max_drop, self.max_bytes) if v is not None]
        if len(given) != 1:
            raise OptionError(
                "rate-distortion needs exactly one of --bits-per-weight, --max-drop and "
                f"--max-bytes, got {len(given)}.",
                where="--method rate-distortion",
            )
        if self.bits_per_weight is not None and not 0 < self.bits_per_weight <= 8:
            raise OptionError(
                f"must be above 0 and at most 8, got {self.bits_per_weight:g}.",
                where="--bits-per-weight",
            )
        if self.max_drop is not None and not 0 <= self.max_drop <= 100:
            raise OptionError(
                f"must be 0 to 100 points, got {self.max_drop:g}.", where="--max-drop"
            )
        if self.max_bytes is not None and self.max_bytes <= 0:
            raise OptionError(f"must be above 0 bytes, got {self.max_bytes}.", where=self.where)


@dataclass(frozen=True)
class Aimed:
    """A point with the float model that it was made from.

    Attributes:
        clean: The float model.
        point: The point.
        form: How it is stored.
        limit: br-11 bytes that it must not exceed, where they were what was aimed at.
    """

    clean: onnx.ModelProto
    point: Point
    form: Form
    limit: int | None = None

    def packed(self) -> onnx.ModelProto:
        """Return the model that stores the point."""
        return pack(self.clean, self.point, self.form)


def aimed(
    setting: Setting,
    samples: Sequence[Feeds],
    aim: Target,
    progress: Progress,
    *,
    seed: int = 0,
    stop: Callable[[], bool] = lambda: False,
) -> Aimed:
    """Find the point on a model's curve that was aimed at.

    Args:
        setting: The model and its data.
        samples: A few calibration batches, on which cleaning is checked.
        aim: What is aimed at.
        progress: Told how far the work is.
        seed: Chooses positions.
        stop: Asked between points; True takes the best so far.

    Returns:
        The point.

    Raises:
        NoGainError: The model has no weights that could be quantized so, or no point fits.
        OptionError: No point fits the bytes, or there are too few samples.
        DataError: A model that ignores its input would hold the budget.
    """
    cleaned = simplify(in_float32(setting.model)[0], samples[:2], progress=progress)
    with tempfile.TemporaryDirectory(prefix="sprat-") as folder:
        bench = Bench(
            original=setting.model,
            start=setting.model,
            clean=name_nodes(cleaned.model),
            samples=samples,
            reference=setting.reference,
            store=Store(Path(folder), {}),
            max_drop=100.0 if aim.max_drop is None else aim.max_drop,
            progress=Watch(progress),
            seed=seed,
        )
        curve = Curve(bench, batches_of(setting))
        if aim.bits_per_weight is not None:
            point = at_bits(curve.prepared, aim.bits_per_weight, progress)
            return Aimed(bench.clean, point, "int8")
        if aim.max_bytes is not None:
            found = smallest_under(curve, aim.max_bytes, stop, where=aim.where)
        else:
            if len(curve.samples) >= LEAST_BATCHES:  # with fewer there is another error
                check_budget(setting.reference, bench.max_drop)
            walked = walk(curve, bench.max_drop, stop)
            if not walked and not stop():
                _ = curve.prepared  # nothing could be tried: measuring it raises why
            found = _cheapest(walked, bench.max_drop)
        name = found.record.name
        rate = next(rate for rate, trial in curve.trials.items() if trial.record.name == name)
        return Aimed(bench.clean, curve.point(rate), curve.form or "int8", aim.max_bytes)


def _cheapest(trials: Sequence[Trial], max_drop: float) -> Trial:
    fit = [t for t in trials if t.record.outcome == "within budget"]
    if not fit:
        raise NoGainError(
            f"nothing that was tried loses {max_drop:g} points or less on val.",
            where="--max-drop",
            hint="Allow more points, or take another --method.",
        )
    return min(fit, key=lambda t: t.record.wire.brotli if t.record.wire else 1 << 62)


def refined(
    setting: Setting,
    found: Aimed,
    config: Refine | None,
    progress: Progress,
    stop: Callable[[], bool],
    *,
    max_drop: float | None = None,
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Refine a point, if asked for, and say what that brought.

    Args:
        setting: The model and its data.
        found: The point.
        config: How; None does not.
        progress: Told how many steps are done.
        stop: Asked at each step; True ends with the best so far.
        max_drop: The budget that the point holds on ``val``, and a refined one must; None without.

    Returns:
        The model that stores the better of the two, and notes in words.
    """
    if config is None:
        return found.packed(), ()
    from sprat.refinement.refine import refine

    better = refine(
        found.clean,
        found.point,
        batches_of(setting, MOST_SAMPLES),
        setting.reference.reading,
        config,
        form=found.form,
        limit=found.limit,
        progress=progress,
        stop=stop,
    )
    held = f"divergence on held-out calibration samples {better.before:.3g}"
    took = f"{better.steps} steps in {better.minutes:.1f} minutes"
    if not better.best:
        return found.packed(), (f"refinement found nothing better: {held}, {took}",)
    model = replace(found, point=better.point).packed()
    if max_drop is not None and not holds(setting.reference.evaluate(model), max_drop):
        missed = f"the refined point does not hold {max_drop:g} points on val, so it is not taken"
        return found.packed(), (f"{missed}: {held} to {better.after:.3g}, {took}",)
    note = f"refined: {held} to {better.after:.3g}, best after {better.best} of {took}"
    if setting.data.calibration is setting.data.choice:
        note += "; it learned from the samples that it is judged by here, for there is no train"
    return model, (note,)
