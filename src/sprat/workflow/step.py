"""One step by hand, from file to file: ``simplify`` and ``quantize``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import onnx

from sprat.data.noise import Noise
from sprat.data.options import DataOptions, read_options
from sprat.data.sources import open_data
from sprat.distillation.extra import require
from sprat.errors import (
    EndlessModelError,
    NoGainError,
    OptionError,
    ShapeMismatchError,
    SpratError,
)
from sprat.evaluate.evaluate import reference_on
from sprat.evaluate.outputs import find_measurable
from sprat.evaluate.predict import predict_all
from sprat.evaluate.reading import guess_reading
from sprat.evaluate.speed import measure_speed
from sprat.evaluate.types import Evaluation, Speed
from sprat.files import is_there
from sprat.graph.precision import in_float32, other_precisions, runnable
from sprat.graph.simplify import Simplified, simplify
from sprat.graph.transforms import take_weights_out_of_inputs
from sprat.model.inspect import fixed_batch, tensor_infos
from sprat.model.load import load, total_bytes
from sprat.model.outputs import keep_outputs
from sprat.model.result import result_bytes
from sprat.model.session import Feeds
from sprat.model.wire import wire_bytes
from sprat.output import OutputFolder
from sprat.progress import Progress, silent
from sprat.quantization.configs import METHODS, Calibration, Config, Float16, RateDistortion, Static
from sprat.quantization.quantize import quantize
from sprat.record.history import append, check_log
from sprat.record.schema import LogEntry
from sprat.refinement.config import Refine
from sprat.workflow.aim import Target, aimed, refined
from sprat.workflow.compare import Comparison, NotCompared, compare_made
from sprat.workflow.compile import spread_feeds
from sprat.workflow.setting import open_setting

_NOISE = 16
#: Sizes of free dimensions that noise tries in turn, until the model takes one.
_NOISE_SIZES = (1, 32, 64, 224, 8, 48, 128)
#: Per-channel scales came with this opset.
_LEAST_OPSET = 13
#: Samples on which a pass of cleaning is checked.
_CHECKED = 2


def simplify_file(
    model: Path,
    out: Path,
    *,
    only: Sequence[str] | None = None,
    data: str | Path | None = None,
    options: DataOptions | None = None,
    only_outputs: bool = False,
    progress: Progress = silent,
) -> Simplified:
    """Clean a model's graph and write the result.

    Args:
        model: The original's file.
        out: Where the cleaned model goes.
        only: Names of passes; all by default.
        data: Real samples on which each pass is checked; seeded noise by default.
        options: How they are read, and which outputs are selected.
        only_outputs: Drop the outputs that are not selected, and all that serves them alone.
        progress: Told how far the work is.

    Returns:
        The cleaned model and what each pass did.

    Raises:
        InputError: The model or a pass's name is wrong.
        OutputError: The result cannot be written.
    """
    folder = _place(out, model, data)
    place = Path(data) if data is not None and is_there(Path(data)) else None
    said = read_options(model, place, options)
    original = load(model)
    source, note = runnable(original)
    samples = None
    if data is not None:
        dataset = open_data(data, tensor_infos(source), options=said).choice
        samples = spread_feeds(dataset, source, _CHECKED)
    if only_outputs:
        source = keep_outputs(source, said.outputs)
    found = simplify(source, samples, only=only, progress=progress)
    folder.write({out.name: result_bytes(found.model, original, made_by=str(out))})
    kept = [step.name for step in found.steps if step.kept]
    words = "; ".join([*filter(None, [note]), ", ".join(kept) or "no pass helped"])
    _log(out, f"simplify {model.name}", _sizes(model, out), words)
    return replace(found, note=note)


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
    only_outputs: bool = False,
    seed: int = 0,
    limit: int | None = None,
    progress: Progress = silent,
    stop: Callable[[], bool] = lambda: False,
) -> Comparison | NotCompared:
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
        only_outputs: Drop the outputs that are not selected, and all that serves them alone.
        seed: Seed of every choice that needs one.
        limit: At most so many samples of each split.
        progress: Told how far the work is.
        stop: Asked between points and at each step of the refinement; True ends with the best so
            far.

    Returns:
        The comparison of the written model with the original; without data and where no noise
        fits, why there is none.

    Raises:
        NoGainError: The method changed nothing, made the file larger, or made a model that answers
            NaN; nothing is written.
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
    folder = _place(out, model, data)
    notes: tuple[str, ...] = ()
    found: Comparison | NotCompared
    if data is None:
        original = load(model)
        source, stand_in = runnable(original)
        said = read_options(model, None, options)
        cut = keep_outputs(source, said.outputs) if only_outputs else source
        base, note = in_float32(cut)
        notes = tuple(filter(None, (stand_in, note)))
        made = quantize(_ready(base, config, None), config)
        _check_gain(model, made, method)
        found = _compare_on_noise(model, cut, made, said.outputs, seed, progress)
        _check_numbers(found, method)
        folder.write({out.name: result_bytes(made, original, made_by=str(out))})
    else:
        setting = open_setting(model, data, options, limit=limit, progress=progress)
        samples = setting.calibration()
        start = setting
        if only_outputs:
            kept = keep_outputs(setting.model, setting.options.outputs)
            start = replace(setting, model=kept)
        if isinstance(config, RateDistortion):
            point = aimed(start, samples, aim, progress, seed=seed, stop=stop)
            found_model, notes = refined(
                start, point, refine, progress, stop, max_drop=aim.max_drop
            )
        else:
            base, _ = in_float32(start.model)
            ready = _ready(base, config, samples[:2])
            found_model = quantize(ready, config, samples, progress=progress)
        _check_gain(model, found_model, method)
        content = result_bytes(found_model, setting.model, made_by=str(out))
        ready = onnx.load_from_string(content)
        found = compare_made(setting, ready, content, out.name, progress=progress)
        _check_numbers(found, method)
        folder.write({out.name: content})
    found = replace(found, notes=(*found.notes, *notes))
    words = "; ".join([_outputs(found), *notes])
    _log(out, f"quantize {model.name} --method {method}", _sizes(model, out), words)
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


def _check_numbers(found: Comparison | NotCompared, method: str) -> None:
    """Refuse to write a model that answers NaN where the original does not."""
    if not isinstance(found, Comparison) or not found.evaluation.lost:
        return
    evaluation = found.evaluation
    where = f"the first {evaluation.first_invalid!r}" if evaluation.first_invalid else "the first"
    raise NoGainError(
        f"the {method} model answers NaN on {evaluation.invalid} of {evaluation.samples} "
        f"{evaluation.split} samples, {where}, and the original does not.",
        where=f"--method {method}",
        hint="Its values leave the type's range, 65,504 in float16: take another --method, or "
        "leave the layers that make them in float with --exclude.",
    )


def _ready(
    model: onnx.ModelProto, config: Config, samples: Sequence[Feeds] | None
) -> onnx.ModelProto:
    """Bring a model into the form that a method takes.

    No quantizer takes weights that are inputs, too, and per-channel scales came with opset 13.
    """
    if len(tensor_infos(model)) < len(model.graph.input):
        model = take_weights_out_of_inputs(model)
    if isinstance(config, Float16):
        return model
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    try:
        return simplify(model, samples, only=["raise_opset"]).model
    except ShapeMismatchError:
        if samples is not None or opset < _LEAST_OPSET:
            raise
        return model  # no noise fits, and nothing needs to be raised


def _check_gain(original: Path, made: onnx.ModelProto, method: str) -> None:
    """Hold a result against the original's own bytes, which may be half of its float32 form's."""
    before, after = len(total_bytes(original)), made.ByteSize()
    if after < before:
        return
    if method == "float16" and onnx.TensorProto.FLOAT16 in other_precisions(load(original)):
        raise NoGainError(
            f"its weights are float16 already: {before} bytes would become {after}.",
            where="--method float16",
            hint="--method weights makes a float16 model smaller, too.",
        )
    raise NoGainError(f"{method} quantization made the file larger: {before} to {after} bytes.")


def _compare_on_noise(
    path: Path,
    model: onnx.ModelProto,
    other: onnx.ModelProto,
    wanted: Sequence[str],
    seed: int,
    progress: Progress,
) -> Comparison | NotCompared:
    """Compare on seeded noise of the first size that the model takes."""
    before = wire_bytes(total_bytes(path), exact=False)
    after = wire_bytes(other.SerializeToString(deterministic=True))
    failure: SpratError | None = None
    for size in _NOISE_SIZES:
        noise = Noise(tensor_infos(model), tuple(range(_NOISE)), seed, size)
        try:
            evaluation, speed = _on_noise(model, other, noise, wanted, progress)
        except EndlessModelError:
            raise
        except SpratError as error:
            failure = failure or error
            continue
        note = f"no --data: compared on {_NOISE} random inputs, which says little about accuracy"
        return Comparison(evaluation, speed, before, after, (note,))
    note = f"no --data: not compared with the original, since no random input fits: {failure}"
    return NotCompared(before, after, (note,))


def _on_noise(
    model: onnx.ModelProto,
    other: onnx.ModelProto,
    noise: Noise,
    wanted: Sequence[str],
    progress: Progress,
) -> tuple[Evaluation, Speed]:
    measurable = find_measurable(model, noise, wanted)
    size = measurable.size
    outputs = predict_all(model, noise, size, names=measurable.names)
    name = None if wanted else measurable.names[0]
    reading, _ = guess_reading(model, outputs, name=name)
    reference = reference_on(model, noise, "noise", reading, outputs=outputs, size=size)
    evaluation = reference.evaluate(other)
    one = noise.batch([0] * (fixed_batch(model) or 1))
    return evaluation, measure_speed(model, other, one, progress=progress)


def _sizes(before: Path, after: Path) -> str:
    return f"{len(total_bytes(before)):,} to {len(total_bytes(after)):,} bytes"


def _outputs(found: Comparison | NotCompared) -> str:
    if isinstance(found, NotCompared):
        return f"{found.model_wire.brotli:,} bytes br-11, {found.notes[0]}"
    e = found.evaluation
    return (
        f"{found.model_wire.brotli:,} bytes br-11, {e.metric} drop {e.drop:+.2f} points on "
        f"{e.samples} {e.split} samples, signal-to-noise {e.error.snr_db:.1f} dB, "
        f"time ratio {found.speed.ratio:.2f}"
    )


def _place(out: Path, *inputs: Path | str | None) -> OutputFolder:
    """Return the folder of a single result, once nothing of the user's stands in its way.

    Raises:
        OutputError: Something does, in the result's place or in that of the log.
    """
    given = tuple(Path(i) for i in inputs if i is not None and is_there(Path(i)))
    folder = OutputFolder(out.parent, "step", given)
    folder.check((out.name,))
    check_log(out.parent)
    return folder


def _log(out: Path, operation: str, result: str, notes: str) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    append(out.parent, LogEntry(date=now, operation=operation, result=result, notes=notes))
