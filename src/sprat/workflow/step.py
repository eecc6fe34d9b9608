"""One step by hand, from file to file: ``simplify`` and ``quantize``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import onnx

from sprat.data.noise import Noise
from sprat.data.options import DataOptions
from sprat.distillation.extra import require
from sprat.errors import OptionError
from sprat.evaluate.evaluate import reference_on
from sprat.evaluate.outputs import find_measurable
from sprat.evaluate.predict import predict_all
from sprat.evaluate.reading import guess_reading
from sprat.evaluate.speed import measure_speed
from sprat.graph.simplify import Simplified, simplify
from sprat.model.inspect import fixed_batch, tensor_infos
from sprat.model.load import load, save, total_bytes
from sprat.model.session import Feeds
from sprat.model.wire import wire_bytes
from sprat.progress import Progress, silent
from sprat.quantization.configs import METHODS, Calibration, Config, Float16, RateDistortion, Static
from sprat.quantization.quantize import quantize
from sprat.record.history import append
from sprat.record.schema import LogEntry
from sprat.refinement.config import Refine
from sprat.workflow.aim import Target, aimed, refined
from sprat.workflow.compare import Comparison, compare_in
from sprat.workflow.setting import open_setting

_NOISE = 16


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
    stop: Callable[[], bool] = lambda: False,
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
        stop: Asked between points and at each step of the refinement; True ends with the best so
            far.

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
    elif aim != Target():
        raise OptionError(
            "--bits-per-weight, --max-drop and --max-bytes go with rate-distortion alone.",
            where=f"--method {method}",
            hint="'sprat optimize --max-drop' holds a budget with any method.",
        )
    if isinstance(config, Static | RateDistortion) and data is None:
        raise OptionError(
            f"{method} quantization needs real samples; noise destroys the model.",
            where="--data",
        )
    notes: tuple[str, ...] = ()
    if data is None:
        source = load(model)
        made = quantize(_ready(source, config, None), config)
        found = _compare_on_noise(model, source, made, seed, progress)
        save(made, out)
    else:
        setting = open_setting(model, data, options, limit=limit, progress=progress)
        samples = setting.calibration()
        if isinstance(config, RateDistortion):
            point = aimed(setting, samples, aim, progress, seed=seed, stop=stop)
            found_model, notes = refined(
                setting, point, refine, progress, stop, max_drop=aim.max_drop
            )
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
    aim = Target(max_bytes=max_bytes, where="--preview-bytes")
    aim.check()
    return aimed(setting, setting.calibration(), aim, progress).packed()


def _config(method: str, calibration: Calibration, exclude: tuple[str, ...]) -> Config:
    if method not in METHODS:
        raise OptionError(f"must be one of {', '.join(METHODS)}, got {method!r}.", where="--method")
    if METHODS[method] is RateDistortion:
        if exclude:
            raise OptionError("is not for rate-distortion.", where="--exclude")
        return RateDistortion()
    config = METHODS[method](exclude=exclude)  # type: ignore[call-arg]
    return replace(config, calibration=calibration) if isinstance(config, Static) else config


def _check_refine(config: Config, refine: Refine) -> None:
    """Refuse before the hours of work what cannot be done."""
    if not isinstance(config, RateDistortion):
        raise OptionError("goes with --method rate-distortion alone.", where="--refine")
    refine.check()
    require("--refine", ("torch",))


def _ready(
    model: onnx.ModelProto, config: Config, samples: Sequence[Feeds] | None
) -> onnx.ModelProto:
    """Raise the opset where the method needs it: per-channel scales came with opset 13."""
    if isinstance(config, Float16):
        return model
    return simplify(model, samples, only=["raise_opset"]).model


def _compare_on_noise(
    path: Path, model: onnx.ModelProto, other: onnx.ModelProto, seed: int, progress: Progress
) -> Comparison:
    noise = Noise(tensor_infos(model), tuple(range(_NOISE)), seed)
    measurable = find_measurable(model, noise)
    size = measurable.size
    outputs = predict_all(model, noise, size, names=measurable.names)
    reading, _ = guess_reading(model, outputs, name=measurable.names[0])
    reference = reference_on(model, noise, "noise", reading, outputs=outputs, size=size)
    evaluation = reference.evaluate(other)
    one = noise.batch([0] * (fixed_batch(model) or 1))
    speed = measure_speed(model, other, one, progress=progress)
    note = f"no --data: compared on {_NOISE} random inputs, which says little about accuracy"
    before, after = total_bytes(path), other.SerializeToString(deterministic=True)
    return Comparison(
        evaluation, speed, wire_bytes(before, exact=False), wire_bytes(after), (note,)
    )


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
