"""``compare``: two models on the same samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from sprat.data.options import DataOptions
from sprat.evaluate.outputs import run_size
from sprat.evaluate.speed import measure_speed
from sprat.evaluate.types import Evaluation, Speed
from sprat.model.load import load, total_bytes
from sprat.model.wire import WireBytes, wire_bytes
from sprat.progress import Progress, silent
from sprat.workflow.setting import Setting, Split, open_setting


@dataclass(frozen=True)
class Comparison:
    """All that ``sprat compare`` says.

    Attributes:
        evaluation: Scores of both, the paired difference, agreement, flips and output error.
        speed: Native time of the model over the reference's.
        reference_wire: Bytes of the reference.
        model_wire: Bytes of the model.
        notes: Guesses and warnings, in words.
    """

    evaluation: Evaluation
    speed: Speed
    reference_wire: WireBytes
    model_wire: WireBytes
    notes: tuple[str, ...]


@dataclass(frozen=True)
class NotCompared:
    """What is said of a model that could be made, and not be compared with the original.

    Attributes:
        reference_wire: Bytes of the reference.
        model_wire: Bytes of the model.
        notes: Why, in words.
    """

    reference_wire: WireBytes
    model_wire: WireBytes
    notes: tuple[str, ...]


def compare(
    reference: Path,
    model: Path,
    data: str | Path,
    *,
    options: DataOptions | None = None,
    split: Split = "val",
    limit: int | None = None,
    exact: bool = False,
    progress: Progress = silent,
) -> Comparison:
    """Compare two models on the same samples.

    Args:
        reference: The original's file.
        model: The other's file.
        data: Folder, CSV, npz or ``package.module:function``.
        options: Preprocessing and output options; they go before ``sprat.toml``.
        split: ``val`` or ``test``.
        limit: At most so many samples of each split.
        exact: Compress all of the reference instead of estimating large files from samples.
        progress: Told how far the work is.

    Returns:
        The comparison.

    Raises:
        InputError: A model, the data or an option is wrong.
    """
    setting = open_setting(reference, data, options, limit=limit, split=split, progress=progress)
    return compare_in(setting, model, exact=exact, progress=progress)


def compare_in(
    setting: Setting, model: Path, *, exact: bool = False, progress: Progress = silent
) -> Comparison:
    """Compare a model with the original of a setting that is open already."""
    content = total_bytes(model)
    return compare_made(setting, load(model), content, model.name, exact=exact, progress=progress)


def compare_made(
    setting: Setting,
    other: onnx.ModelProto,
    content: bytes,
    name: str,
    *,
    exact: bool = False,
    progress: Progress = silent,
) -> Comparison:
    """Compare a model that may not be written yet with the original of an open setting.

    Args:
        setting: The original and its data.
        other: The model.
        content: All of its bytes.
        name: Of its file.
        exact: Compress all of the original instead of estimating large files from samples.
        progress: Told how far the work is.
    """
    reference = setting.reference
    size, why = run_size(other, reference.dataset, tuple(reference.outputs))
    notes = (*setting.notes, *((f"{name}: {why}",) if why and reference.size > 1 else ()))
    evaluation = reference.evaluate(other, progress, size=size)
    one = setting.calibration(1)[0]
    speed = measure_speed(setting.model, other, one, progress=progress)
    progress("compressing", 0, 2)
    before = wire_bytes(total_bytes(setting.path), exact=exact)
    progress("compressing", 1, 2)
    after = wire_bytes(content)
    progress("compressing", 2, 2)
    return Comparison(evaluation, speed, before, after, notes)


def besides(evaluation: Evaluation) -> str:
    """Say what a score rests on: the output and channels that decided, and what is no number."""
    said = [evaluation.worst]
    if evaluation.invalid:
        said.append(
            f"NaN on {evaluation.invalid} samples, the first {evaluation.first_invalid!r}, "
            "which agrees with nothing"
        )
    return "".join(f"; {words}" for words in said if words)
