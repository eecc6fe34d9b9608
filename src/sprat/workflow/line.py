"""A line of a search: one model on its way to being small, held against the original."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from sprat import __version__
from sprat.errors import OptionError
from sprat.files import sha256
from sprat.graph.precision import in_float32
from sprat.graph.simplify import Simplified, simplify
from sprat.model.inspect import TensorInfo, fixed_batch, output_infos, tensor_infos
from sprat.model.load import load, sha256_model
from sprat.model.nodes import name_nodes
from sprat.model.session import Feeds
from sprat.progress import Watch
from sprat.record.schema import CandidateRecord, Source
from sprat.record.versions import versions
from sprat.search.candidates import Bench
from sprat.search.rate import SAMPLES, Curve, calibration_batches
from sprat.search.store import Store
from sprat.spread import Spread
from sprat.workflow.setting import Setting


@dataclass(frozen=True)
class Line:
    """One model on its way to being small.

    Attributes:
        path: Its file.
        cleaned: Its graph, cleaned.
        bench: Makes and measures its candidates.
        curve: Its rate-distortion curve.
        note: What it began with, in words.
    """

    path: Path
    cleaned: Simplified
    bench: Bench
    curve: Curve
    note: str = ""

    @property
    def source(self) -> Source:
        """What it is: the original, or a student."""
        return self.bench.source


def open_line(
    path: Path,
    model: onnx.ModelProto,
    setting: Setting,
    source: Source,
    work: Path,
    *,
    max_drop: float,
    seed: int,
    note: str = "",
    progress: Watch,
    spread: Spread,
) -> Line:
    """Clean a model and get ready to measure what is made of it.

    Args:
        path: Its file.
        model: What that holds.
        setting: The original with its data.
        source: Whether this is the original or a student.
        work: Folder for what was made and measured.
        max_drop: The budget in points.
        seed: Of every choice that needs one.
        note: What it began with, in words.
        progress: Told how far the work is; ends it where time is up.
        spread: Who takes part.

    Returns:
        The line; a student is measured once as it is, for what it spends of the budget.

    Raises:
        DataError: A student's outputs have another shape than the original's.
        OutputError: The folder cannot be written.
    """
    samples = setting.calibration()
    cleaned = simplify(in_float32(model)[0], samples[:2], progress=progress)
    bench = Bench(
        original=setting.model,
        start=model,
        clean=name_nodes(cleaned.model),
        samples=samples,
        reference=setting.reference,
        store=Store(work, _basis(path, model, setting, seed)),
        max_drop=max_drop,
        progress=progress,
        source=source,
        seed=seed,
        spread=spread,
    )
    if source == "student":
        own = bench.evaluation(model.SerializeToString(deterministic=True), model)
        bench = replace(bench, own=own)
    # What can stand in the original's place takes the original's batches.
    batches = batches_of(setting)
    return Line(path, cleaned, bench, Curve(bench, batches), note)


def line_of(lines: tuple[Line, ...], record: CandidateRecord) -> Line:
    """Return the line that a candidate was made on."""
    return next(line for line in lines if line.source == record.source)


def stand_in(path: Path, setting: Setting) -> onnx.ModelProto:
    """Load a model that shall take the original's place on a page without changing the page.

    Args:
        path: Its file.
        setting: The original with its data.

    Returns:
        The model.

    Raises:
        ModelError: The file is missing, damaged or no ONNX model.
        OptionError: It takes or gives something else than the original.
    """
    model = load(path)
    pairs = (
        ("input", tensor_infos(setting.model), tensor_infos(model)),
        ("output", output_infos(setting.model), output_infos(model)),
    )
    for kind, wanted, got in pairs:
        named = {info.name: info for info in got}
        wrong = [i for i in wanted if i.name not in named or not _fits(named[i.name], i)]
        if wrong or (kind == "input" and len(got) != len(wanted)):
            raise OptionError(
                f"has the {kind}s {_said(got)}; those of {setting.path.name} are {_said(wanted)}.",
                where=str(path),
                hint="A page stays as it is only with the reference's inputs and outputs; "
                "'sprat distill' writes a student that has them.",
            )
    return model


def _fits(got: TensorInfo, wanted: TensorInfo) -> bool:
    """Say whether a tensor can take another's place; a dynamic axis takes any size."""
    if got.dtype != wanted.dtype:
        return False
    if not (got.shape and wanted.shape):
        return True  # a shape that the file does not tell
    axes = zip(got.shape, wanted.shape, strict=False)
    return len(got.shape) == len(wanted.shape) and all(
        not isinstance(mine, int) or mine == theirs or (i > 0 and not isinstance(theirs, int))
        for i, (mine, theirs) in enumerate(axes)
    )


def _said(infos: tuple[TensorInfo, ...]) -> str:
    return ", ".join(f"{i.name!r} {i.dtype} [{', '.join(map(str, i.shape))}]" for i in infos)


def batches_of(setting: Setting, count: int = SAMPLES) -> Sequence[Feeds]:
    """Return the samples by which layers are measured, in the original's batches.

    Args:
        setting: The original with its data.
        count: At most so many samples.
    """
    size, fixed = setting.reference.size, fixed_batch(setting.model) is not None
    return calibration_batches(setting.data.calibration, size, fixed=fixed, count=count)


def _basis(path: Path, model: onnx.ModelProto, setting: Setting, seed: int) -> dict[str, object]:
    """Return what all that is made and measured on a line depends on."""
    return {
        "sprat": __version__,
        "versions": versions(),
        "model": sha256_model(path),
        "outputs": [output.name for output in model.graph.output],
        "reference": sha256_model(setting.path),
        "calibration": setting.data.calibration.digest,
        "choice": setting.data.choice.digest,
        "reading": repr(setting.reference.reading),
        "metric": setting.options.metric,
        # A metric is code, which may be edited under the same name.
        "scores": sha256(setting.reference.scores.tobytes()),
        "seed": seed,
    }
