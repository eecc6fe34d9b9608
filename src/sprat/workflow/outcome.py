"""What a search found, and what is written of it: model, options, record, report, log."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sprat import __version__
from sprat.data.dataset import Dataset
from sprat.data.options import as_toml, as_words
from sprat.evaluate.types import Evaluation, Speed
from sprat.files import sha256, sha256_file
from sprat.model.inspect import inspect
from sprat.model.load import is_whole, total_bytes
from sprat.model.wire import WireBytes, wire_bytes
from sprat.progress import Progress
from sprat.record.schema import (
    ChoiceRecord,
    DataRecord,
    FileRecord,
    LayerRecord,
    LogEntry,
    Run,
    SplitRecord,
)
from sprat.record.versions import machine, versions
from sprat.search.candidates import Trial
from sprat.workflow.budget import Clock, Request
from sprat.workflow.line import Line, line_of
from sprat.workflow.run_folder import MODEL, OPTIONS, PREVIEW, RunFolder
from sprat.workflow.setting import Setting, found_options, reading_record

if TYPE_CHECKING:
    from sprat.workflow.pupil import Pupil

#: What the split train is for where a student is taught.
_TAUGHT_ON = "training and calibration"


@dataclass(frozen=True)
class Findings:
    """What a search found.

    Attributes:
        request: What it was asked for.
        before: Bytes of the original.
        lines: What was made small.
        pupil: The student that was taught; None where none was wanted.
        trials: Every candidate.
        chosen: The choice; the original where nothing smaller holds the budget.
        preview: The preview; None where none was wanted.
        reason: Why it was chosen.
        test: The last look; None where there was none.
        parties: How many processes took part.
    """

    request: Request
    before: WireBytes
    lines: tuple[Line, ...]
    pupil: Pupil | None
    trials: tuple[Trial, ...]
    chosen: Trial
    preview: Trial | None
    reason: str
    test: Evaluation | None
    parties: int

    @property
    def student(self) -> Line | None:
        """The line of a student, if there is one."""
        return next((line for line in self.lines if line.source == "student"), None)


def write(
    out: RunFolder, setting: Setting, found: Findings, clock: Clock, progress: Progress
) -> Run:
    """Write model, preview, options, report, record and log.

    Args:
        out: The folder.
        setting: The original and its data.
        found: What the search found.
        clock: Seconds by stage.
        progress: Told how far the work is.

    Returns:
        The record.

    Raises:
        OutputError: A file cannot be written.
    """
    assert found.chosen.model is not None
    content = found.chosen.model.SerializeToString(deterministic=True)
    if found.chosen.record.name == "original" and is_whole(setting.path):
        content = setting.path.read_bytes()
    # What said how the original's data is read may lie beside the original alone.
    files: dict[str, bytes | str] = {MODEL: content, OPTIONS: as_toml(found_options(setting))}
    if found.preview is not None and found.preview.model is not None:
        files[PREVIEW] = found.preview.model.SerializeToString(deterministic=True)
    run = _record(setting, found, clock, out.path, content)
    pictures = {s.name: s.path for s in setting.data.choice.samples if s.path is not None}
    pictures |= {s.name: s.path for s in setting.data.final.samples if s.path is not None}
    progress("writing the report", 0, 1)
    out.commit(run, files=files, pictures=pictures, remove=() if PREVIEW in files else (PREVIEW,))
    progress("writing the report", 1, 1)
    return run


def _record(setting: Setting, found: Findings, clock: Clock, out: Path, content: bytes) -> Run:
    chosen, request = found.chosen.record, found.request
    student, pupil = found.student, found.pupil
    validation = chosen.evaluation
    assert validation is not None
    speed: Speed | None = chosen.speed
    records = [chosen if t.record.name == chosen.name else t.record for t in found.trials]
    wire = chosen.wire or found.before
    start = _start(setting, found)
    outputs = [FileRecord(path="model.onnx", sha256=sha256(content), wire=wire)]
    preview = found.preview.record if found.preview is not None else None
    if preview is not None and preview.wire is not None:
        outputs.append(FileRecord(path="preview.onnx", sha256=preview.sha256, wire=preview.wire))
    return Run(
        sprat=__version__,
        versions=versions() | (pupil.versions if pupil is not None else {}),
        machine=machine(),
        command=_command(out, setting, found),
        seed=request.seed,
        options={
            "goal": request.budget.goal,
            "max_drop": request.budget.max_drop,
            "minutes": request.budget.minutes,
            "preview": request.budget.preview,
            "limit": request.limit,
            "parties": found.parties,
        },
        model=FileRecord(
            path=setting.path.name, sha256=sha256_file(setting.path), wire=found.before
        ),
        student=_file(student.path) if student is not None else None,
        outputs=tuple(outputs),
        data=data_record(setting, train="calibration" if pupil is None else _TAUGHT_ON),
        inspection=inspect(
            start,
            wire=found.before if start == setting.path else None,
            shapes={name: (1, *x.shape[1:]) for name, x in setting.data.choice.batch([0]).items()},
        ),
        simplified=_simplified(found),
        candidates=tuple(records),
        choice=ChoiceRecord(
            candidate=chosen.name,
            goal=request.budget.goal,
            max_drop=request.budget.max_drop,
            reason=found.reason,
            validation=validation,
            test=found.test,
            speed=speed,
        ),
        preview=preview,
        layers=_layers(found),
        distillation=pupil.taught if pupil is not None else None,
        timings=clock.stages,
        log=_log(found, validation),
    )


def _file(path: Path) -> FileRecord:
    content = total_bytes(path)
    wire = wire_bytes(content, exact=False)
    return FileRecord(path=path.name, sha256=sha256_file(path), wire=wire)


def _start(setting: Setting, found: Findings) -> Path:
    """Return the file that the choice was made of."""
    student = found.student
    if student is None or found.chosen.record.source == "original":
        return setting.path
    return student.path


def _simplified(found: Findings) -> tuple[str, ...]:
    return tuple(
        f"{step}" if len(found.lines) == 1 else f"{line.source}: {step}"
        for line in found.lines
        for step in line.cleaned.steps
    )


def _layers(found: Findings) -> tuple[LayerRecord, ...]:
    """Return the bits by layer where the choice is a point on the curve."""
    options = found.chosen.record.options
    if "rate" not in options:
        return ()
    point = line_of(found.lines, found.chosen.record).curve.point(float(str(options["rate"])))
    return tuple(
        LayerRecord(
            name=b.name,
            weights=b.weights,
            bits_per_weight=b.bits_per_weight,
            sensitivity=b.sensitivity,
        )
        for b in point.layers
    )


def _log(found: Findings, validation: Evaluation) -> tuple[LogEntry, ...]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    lines = [] if found.pupil is None else [found.pupil.log]
    for line in found.lines:
        kept = [s for s in line.cleaned.steps if s.kept]
        lines.append(
            LogEntry(
                date=now,
                operation="simplify" + (f" {line.path.name}" if len(found.lines) > 1 else ""),
                result=f"{len(kept)} of {len(line.cleaned.steps)} passes changed the graph",
                notes=", ".join(s.name for s in kept),
            )
        )
    for trial in found.trials:
        record = trial.record
        size = f"{record.wire.brotli:,} bytes br-11" if record.wire else "no model"
        drop = f", drop {record.evaluation.drop:+.2f} points" if record.evaluation else ""
        lines.append(
            LogEntry(
                date=now,
                operation=f"try {record.name}",
                result=f"{size}{drop}: {record.outcome}",
                notes=record.note,
            )
        )
    look = found.test or validation
    wire = found.chosen.record.wire or found.before
    lines.append(
        LogEntry(
            date=now,
            operation=f"optimize {found.request.model.name}",
            result=f"{found.before.brotli:,} to {wire.brotli:,} bytes br-11, "
            f"{look.metric} drop {look.drop:+.2f} points on {look.split} "
            f"(95 % {look.interval.low:+.2f} to {look.interval.high:+.2f})",
            notes=f"{found.chosen.record.name}: {found.reason}",
        )
    )
    return tuple(lines)


def data_record(
    setting: Setting, *, train: str = "calibration", test: str = "the one last look"
) -> DataRecord:
    """Return the record of the data.

    Args:
        setting: The original and its data.
        train: What the split of that name is for.
        test: What that one is for.
    """
    data = setting.data
    roles: list[tuple[str, Dataset | None, str]] = [
        ("train", data.train, train),
        ("val", data.val, "choice" if data.train else f"{train} and choice"),
        ("test", data.test, test),
    ]
    return DataRecord(
        source=data.source,
        kind=data.kind,
        classes=tuple(data.choice.classes),
        reading=reading_record(setting.reference.reading),
        preprocess=data.preprocess.as_json() if data.preprocess else {},
        splits=tuple(
            SplitRecord(name=name, samples=len(split.samples), digest=split.digest, role=role)
            for name, split, role in roles
            if split is not None
        ),
        notes=setting.notes,
    )


def _command(out: Path, setting: Setting, found: Findings) -> str:
    request, budget = found.request, found.request.budget
    words = [
        *("sprat", "optimize", request.model.name, "--data", setting.data.source),
        *("--out", out.name, "--goal", budget.goal, "--max-drop", f"{budget.max_drop:g}"),
        *("--minutes", f"{budget.minutes:g}", "--seed", str(request.seed)),
    ]
    if request.reference is not None:
        words += ["--reference", request.reference.name]
    if found.pupil is not None:
        words += found.pupil.words
    if budget.preview is not None:
        words += ["--preview", str(budget.preview)]
    if request.limit is not None:
        words += ["--limit", str(request.limit)]
    if request.only_outputs:
        words += ["--only-outputs"]
    words += as_words(setting.said)
    return shlex.join(words)
