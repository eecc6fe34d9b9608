"""One step by hand, from file to file: ``simplify`` and ``quantize``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import onnx

from sprat.data.noise import Noise
from sprat.data.options import DataOptions
from sprat.distillation.extra import require
from sprat.errors import NoGainError, OptionError
from sprat.evaluate.evaluate import batch_size, predict_all, reference_on
from sprat.evaluate.reading import guess_reading
from sprat.evaluate.speed import measure_speed
from sprat.graph.simplify import Simplified, simplify
from sprat.model.inspect import tensor_infos
from sprat.model.load import load, save, total_bytes
from sprat.model.nodes import name_nodes
from sprat.model.session import Feeds
from sprat.model.wire import wire_bytes
from sprat.progress import Progress, Watch, silent
from sprat.quantization.configs import METHODS, Calibration, Config, Float16, RateDistortion, Static
from sprat.quantization.quantize import quantize
from sprat.quantization.rate_distortion import Form, Point, at_bits, pack
from sprat.record.history import append
from sprat.record.schema import LogEntry
from sprat.refinement.config import MOST_SAMPLES, Refine
from sprat.search.candidates import Bench, Trial
from sprat.search.rate import SAMPLES, Curve, calibration_batches, smallest_under, walk
from sprat.search.store import Store
from sprat.workflow.compare import Comparison, compare_in
from sprat.workflow.setting import Setting, is_fixed, open_setting

_NOISE = 16


def _never() -> bool:
    return False


def simplify_file(
    model: Path, out: Path, *, only: Sequence[str] | None = None, progress: Progress = silent
) -> Simplified:
    """Clean a model's graph and write the result.

    Args:
        model: The original's file.
        out: Where the cleaned model goes.
        only: Names of passes; all by default.
        progress: Told how far the work is.

    Returns:
        The cleaned model and what each pass did.

    Raises:
        InputError: The model or a pass's name is wrong.
        OutputError: The result cannot be written.
    """
    found = simplify(load(model), None, only=only, progress=progress)
    save(found.model, out)
    kept = [step.name for step in found.steps if step.kept]
    _log(out, f"simplify {model.name}", _sizes(model, out), ", ".join(kept) or "no pass helped")
    return found


@dataclass(frozen=True)
class Target:
    """What ``rate-distortion`` aims at: exactly one of the three.

    Attributes:
        bits_per_weight: Order-0 entropy of a weight.
        max_drop: The fewest bytes within so many points on ``val``.
        max_bytes: The least divergence under so many br-11 bytes.
    """

    bits_per_weight: float | None = None
    max_drop: float | None = None
    max_bytes: int | None = None

    def check(self) -> None:
        """Refuse none or several.

        Raises:
            OptionError: Not exactly one is given.
        """
        given = [v for v in (self.bits_per_weight, self.max_drop, self.max_bytes) if v is not None]
        if len(given) != 1:
            raise OptionError(
                "rate-distortion needs exactly one of --bits-per-weight, --max-drop and "
                f"--max-bytes, got {len(given)}.",
                where="--method rate-distortion",
            )


def quantize_file(
    model: Path,
    out: Path,
    method: str,
    *,
    data: str | Path | None = None,
    calibration: Calibration = "minmax",
    exclude: tuple[str, ...] = (),
    target: Target | None = None,
    refine: Refine | None = None,
    options: DataOptions | None = None,
    seed: int = 0,
    limit: int | None = None,
    progress: Progress = silent,
    stop: Callable[[], bool] = _never,
) -> Comparison:
    """Quantize a model by one method, write it, and compare it with the original.

    Args:
        model: The original's file.
        out: Where the quantized model goes.
        method: A key of :data:`sprat.quantization.configs.METHODS`.
        data: Samples for calibration and comparison. Without them the outputs are compared on
            random inputs, and ``static`` is refused.
        calibration: How ``static`` finds activation ranges.
        exclude: Nodes (for ``weights``: initializers) that stay float.
        target: What ``rate-distortion`` aims at.
        refine: How its point is refined by gradients, which needs torch; None does not.
        options: Preprocessing and output options.
        seed: Seed of every choice that needs one.
        limit: At most so many samples of each split.
        progress: Told how far the work is.
        stop: Asked at each step of the refinement; True ends it with the best so far.

    Returns:
        The comparison of the written model with the original.

    Raises:
        NoGainError: The method changed nothing or made the file larger; nothing is written.
        InputError: The model, the data or an option is wrong, or torch is missing.
        OutputError: The result cannot be written.
    """
    config = _config(method, calibration, exclude)
    aim = target or Target()
    if refine is not None:
        _check_refine(config, refine)
    if isinstance(config, RateDistortion):
        aim.check()
    if isinstance(config, Static | RateDistortion) and data is None:
        raise OptionError(
            f"{method} quantization needs real samples; noise destroys the model.",
            where="--data",
        )
    notes: tuple[str, ...] = ()
    if data is None:
        source = load(model)
        save(quantize(_ready(source, config, None), config), out)
        found = _compare_on_noise(model, source, out, seed, progress)
    else:
        setting = open_setting(model, data, options, limit=limit, progress=progress)
        samples = setting.calibration()
        if isinstance(config, RateDistortion):
            on_curve = _on_curve(setting, samples, aim, progress)
            found_model, notes = _refined(setting, on_curve, refine, progress, stop)
        else:
            ready = _ready(setting.model, config, samples[:2])
            found_model = quantize(ready, config, samples, progress=progress)
        save(found_model, out)
        found = compare_in(setting, out, progress=progress)
        found = replace(found, notes=(*found.notes, *notes))
    said = "; ".join([_outputs(found), *notes])
    _log(out, f"quantize {model.name} --method {method}", _sizes(model, out), said)
    return found


def smallest_preview(
    model: Path,
    data: str | Path,
    max_bytes: int,
    *,
    options: DataOptions | None = None,
    progress: Progress = silent,
) -> onnx.ModelProto:
    """Return the best point on a model's rate-distortion curve under so many bytes.

    Args:
        model: The float model's file.
        data: Samples for calibration and comparison.
        max_bytes: br-11 bytes.
        options: Preprocessing and output options.
        progress: Told how far the work is.

    Returns:
        The quantized model.

    Raises:
        NoGainError: The model has no float weights that could be quantized so.
        InputError: The model, the data or an option is wrong, or no point fits.
    """
    setting = open_setting(model, data, options, progress=progress)
    on_curve = _on_curve(setting, setting.calibration(), Target(max_bytes=max_bytes), progress)
    return on_curve.packed()


def _config(method: str, calibration: Calibration, exclude: tuple[str, ...]) -> Config:
    if method not in METHODS:
        raise OptionError(f"must be one of {', '.join(METHODS)}, got {method!r}.", where="--method")
    if METHODS[method] is RateDistortion:
        return RateDistortion()
    config = METHODS[method](exclude=exclude)  # type: ignore[call-arg]
    return replace(config, calibration=calibration) if isinstance(config, Static) else config


def _ready(
    model: onnx.ModelProto, config: Config, samples: Sequence[Feeds] | None
) -> onnx.ModelProto:
    """Raise the opset where the method needs it: per-channel scales came with opset 13."""
    if isinstance(config, Float16):
        return model
    return simplify(model, samples, only=["raise_opset"]).model


@dataclass(frozen=True)
class _OnCurve:
    """A point with the float model that it was made from."""

    clean: onnx.ModelProto
    point: Point
    form: Form

    def packed(self) -> onnx.ModelProto:
        return pack(self.clean, self.point, self.form)


def _on_curve(
    setting: Setting, samples: Sequence[Feeds], aim: Target, progress: Progress
) -> _OnCurve:
    cleaned = simplify(setting.model, samples[:2], progress=progress)
    with tempfile.TemporaryDirectory(prefix="sprat-") as folder:
        bench = Bench(
            original=setting.model,
            clean=name_nodes(cleaned.model),
            samples=samples,
            reference=setting.reference,
            store=Store(Path(folder), {}),
            max_drop=100.0 if aim.max_drop is None else aim.max_drop,
            progress=Watch(progress),
        )
        curve = Curve(bench, _batches(setting))
        if aim.bits_per_weight is not None:
            point = at_bits(curve.prepared, aim.bits_per_weight, progress)
            return _OnCurve(bench.clean, point, "int8")
        if aim.max_bytes is not None:
            found = smallest_under(curve, aim.max_bytes, _never)
        else:
            found = _cheapest(walk(curve, bench.max_drop, _never), bench.max_drop)
        name = found.record.name
        rate = next(rate for rate, trial in curve.trials.items() if trial.record.name == name)
        return _OnCurve(bench.clean, curve.point(rate), curve.form or "int8")


def _cheapest(trials: Sequence[Trial], max_drop: float) -> Trial:
    fit = [t for t in trials if t.record.outcome == "within budget"]
    if not fit:
        raise NoGainError(f"no point holds {max_drop:g} points on val.")
    return min(fit, key=lambda t: t.record.wire.brotli if t.record.wire else 1 << 62)


def _batches(setting: Setting, count: int = SAMPLES) -> Sequence[Feeds]:
    size, fixed = setting.reference.size, is_fixed(setting.model)
    return calibration_batches(setting.data.calibration, size, fixed=fixed, count=count)


def _check_refine(config: Config, refine: Refine) -> None:
    """Refuse before the hours of work what cannot be done."""
    if not isinstance(config, RateDistortion):
        raise OptionError("goes with --method rate-distortion alone.", where="--refine")
    refine.check()
    require("--refine", ("torch",))


def _refined(
    setting: Setting,
    found: _OnCurve,
    config: Refine | None,
    progress: Progress,
    stop: Callable[[], bool],
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Refine a point, if asked for, and say what that brought."""
    if config is None:
        return found.packed(), ()
    from sprat.refinement.refine import refine

    better = refine(
        found.clean,
        found.point,
        _batches(setting, MOST_SAMPLES),
        setting.reference.reading,
        config,
        form=found.form,
        progress=progress,
        stop=stop,
    )
    held = f"divergence on held-out calibration samples {better.before:.3g}"
    took = f"{better.steps} steps in {better.minutes:.1f} minutes"
    if not better.best:
        return found.packed(), (f"refinement found nothing better: {held}, {took}",)
    note = f"refined: {held} to {better.after:.3g}, best after {better.best} of {took}"
    return replace(found, point=better.point).packed(), (note,)


def _compare_on_noise(
    path: Path, model: onnx.ModelProto, out: Path, seed: int, progress: Progress
) -> Comparison:
    noise = Noise(tensor_infos(model), tuple(range(_NOISE)), seed)
    size = batch_size(model)
    outputs = predict_all(model, noise, size)
    reading, _ = guess_reading(model, outputs)
    reference = reference_on(model, noise, "noise", reading, outputs=outputs, size=size)
    other = load(out)
    evaluation = reference.evaluate(other)
    speed = measure_speed(model, other, noise.batch([0] * _first(model)), progress=progress)
    note = f"no --data: compared on {_NOISE} random inputs, which says little about accuracy"
    before, after = total_bytes(path), total_bytes(out)
    return Comparison(
        evaluation, speed, wire_bytes(before, exact=False), wire_bytes(after), (note,)
    )


def _first(model: onnx.ModelProto) -> int:
    shape = tensor_infos(model)[0].shape
    return shape[0] if shape and isinstance(shape[0], int) and shape[0] > 0 else 1


def _sizes(before: Path, after: Path) -> str:
    return f"{len(total_bytes(before)):,} to {len(total_bytes(after)):,} bytes"


def _outputs(found: Comparison) -> str:
    e = found.evaluation
    return (
        f"{found.model_wire.brotli:,} bytes br-11, {e.metric} drop {e.drop:+.2f} points on "
        f"{e.samples} {e.split} samples, signal-to-noise {e.error.snr_db:.1f} dB, "
        f"time ratio {found.speed.ratio:.2f}"
    )


def _log(out: Path, operation: str, result: str, notes: str) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    append(out.parent, LogEntry(date=now, operation=operation, result=result, notes=notes))
