"""What a search found, and what is written of it: model, record, report, log."""

from __future__ import annotations

import os
import platform
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sprat import __version__
from sprat.data.dataset import Dataset
from sprat.evaluate.types import Evaluation, Speed
from sprat.files import sha256, sha256_file, write_atomic
from sprat.graph.simplify import Simplified
from sprat.model.inspect import inspect
from sprat.model.load import total_bytes
from sprat.model.wire import WireBytes
from sprat.progress import Progress
from sprat.record.history import append
from sprat.record.run import dump_run
from sprat.record.schema import (
    ChoiceRecord,
    DataRecord,
    FileRecord,
    LayerRecord,
    LogEntry,
    Run,
    SplitRecord,
)
from sprat.record.versions import versions
from sprat.search.candidates import Trial
from sprat.search.rate import Curve
from sprat.workflow.budget import Budget, Clock
from sprat.workflow.setting import Setting, reading_record


@dataclass(frozen=True)
class Findings:
    """What a search found.

    Attributes:
        budget: What it was asked for.
        before: Bytes of the original.
        cleaned: The cleaned graph.
        trials: Every candidate.
        chosen: The choice; the original where nothing smaller holds the budget.
        preview: The preview; None where none was wanted.
        curve: The rate-distortion curve.
        reason: Why it was chosen.
        test: The last look; None where there was none.
        seed: Of every choice that needs one.
        limit: Samples of each split at most.
        parties: How many processes took part.
    """

    budget: Budget
    before: WireBytes
    cleaned: Simplified
    trials: tuple[Trial, ...]
    chosen: Trial
    preview: Trial | None
    curve: Curve
    reason: str
    test: Evaluation | None
    seed: int
    limit: int | None
    parties: int


def write(out: Path, setting: Setting, found: Findings, clock: Clock, progress: Progress) -> Run:
    """Write model, preview, report, record and log.

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
    from sprat.report.render import render

    assert found.chosen.model is not None
    content = found.chosen.model.SerializeToString(deterministic=True)
    if found.chosen.record.name == "original":
        content = total_bytes(setting.path)
    write_atomic(out / "model.onnx", content)
    if found.preview is not None and found.preview.model is not None:
        preview = found.preview.model.SerializeToString(deterministic=True)
        write_atomic(out / "preview.onnx", preview)
    else:
        (out / "preview.onnx").unlink(missing_ok=True)  # of an earlier run
    run = _record(setting, found, clock, out, content)
    append(out, run.log[-1])
    pictures = {s.name: s.path for s in setting.data.choice.samples if s.path is not None}
    pictures |= {s.name: s.path for s in setting.data.final.samples if s.path is not None}
    progress("writing the report", 0, 1)
    write_atomic(out / "report.html", render(run, samples=pictures))
    write_atomic(out / "run.json", dump_run(run))
    progress("writing the report", 1, 1)
    return run


def _record(setting: Setting, found: Findings, clock: Clock, out: Path, content: bytes) -> Run:
    chosen = found.chosen.record
    validation = chosen.evaluation
    assert validation is not None
    speed: Speed | None = chosen.speed
    records = [chosen if t.record.name == chosen.name else t.record for t in found.trials]
    wire = chosen.wire or found.before
    outputs = [FileRecord(path="model.onnx", sha256=sha256(content), wire=wire)]
    preview = found.preview.record if found.preview is not None else None
    if preview is not None and preview.wire is not None:
        outputs.append(FileRecord(path="preview.onnx", sha256=preview.sha256, wire=preview.wire))
    return Run(
        sprat=__version__,
        versions=versions(),
        machine=machine(),
        command=_command(out, setting, found),
        seed=found.seed,
        options={
            "goal": found.budget.goal,
            "max_drop": found.budget.max_drop,
            "minutes": found.budget.minutes,
            "preview": found.budget.preview,
            "limit": found.limit,
            "parties": found.parties,
        },
        model=FileRecord(
            path=setting.path.name, sha256=sha256_file(setting.path), wire=found.before
        ),
        outputs=tuple(outputs),
        data=data_record(setting),
        inspection=inspect(setting.path),
        simplified=tuple(str(step) for step in found.cleaned.steps),
        candidates=tuple(records),
        choice=ChoiceRecord(
            candidate=chosen.name,
            goal=found.budget.goal,
            max_drop=found.budget.max_drop,
            reason=found.reason,
            validation=validation,
            test=found.test,
            speed=speed,
        ),
        preview=preview,
        layers=_layers(found),
        timings=clock.stages,
        log=_log(setting, found, validation),
    )


def _layers(found: Findings) -> tuple[LayerRecord, ...]:
    """Return the bits by layer where the choice is a point on the curve."""
    options = found.chosen.record.options
    if "rate" not in options:
        return ()
    point = found.curve.point(float(str(options["rate"])))
    return tuple(
        LayerRecord(
            name=b.name,
            weights=b.weights,
            bits_per_weight=b.bits_per_weight,
            sensitivity=b.sensitivity,
        )
        for b in point.layers
    )


def _log(setting: Setting, found: Findings, validation: Evaluation) -> tuple[LogEntry, ...]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    kept = [s for s in found.cleaned.steps if s.kept]
    lines = [
        LogEntry(
            date=now,
            operation="simplify",
            result=f"{len(kept)} of {len(found.cleaned.steps)} passes changed the graph",
            notes=", ".join(s.name for s in kept),
        )
    ]
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
            operation=f"optimize {setting.path.name}",
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


def machine() -> str:
    """Describe the machine."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def _command(out: Path, setting: Setting, found: Findings) -> str:
    budget = found.budget
    words = [
        *("sprat", "optimize", setting.path.name, "--data", setting.data.source),
        *("--out", out.name, "--goal", budget.goal, "--max-drop", f"{budget.max_drop:g}"),
        *("--minutes", f"{budget.minutes:g}", "--seed", str(found.seed)),
    ]
    if budget.preview is not None:
        words += ["--preview", str(budget.preview)]
    if found.limit is not None:
        words += ["--limit", str(found.limit)]
    return shlex.join(words)
