"""The student that ``optimize`` teaches, so that it competes with the original."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sprat.evaluate.evaluate import metric_name
from sprat.model.result import result_bytes
from sprat.output import OutputFolder
from sprat.progress import Progress
from sprat.record.schema import DistillationRecord, EpochRecord, LogEntry
from sprat.workflow.budget import Clock, Request
from sprat.workflow.setting import Setting
from sprat.workflow.student import (
    Asked,
    in_words,
    network_words,
    taught_record,
    torch_versions,
)

#: Of the student's file, as ``distill`` has it where nothing else is said.
_OPSET = 17
#: Its name in the work folder.
STUDENT = "student.onnx"


@dataclass(frozen=True)
class Pupil:
    """A student that was taught.

    Attributes:
        path: Its file, in the work folder.
        taught: How it was taught.
        notes: What it began with, in words.
        log: A line for the log.
        words: The options that teach it again.
        versions: What its weights depend on, by package.
    """

    path: Path
    taught: DistillationRecord
    notes: tuple[str, ...]
    log: LogEntry
    words: tuple[str, ...]
    versions: dict[str, str]


def work_folder(out: Path) -> OutputFolder:
    """Return the work folder of a folder of results, as what the student is written into."""
    return OutputFolder(out / ".work", "student")


def teach_pupil(
    request: Request,
    setting: Setting,
    out: Path,
    clock: Clock,
    progress: Progress,
    told: Callable[[EpochRecord, float], None],
) -> Pupil:
    """Teach the student, or go on where a killed run was.

    The time of it is its own: the search's begins to run again afterwards.

    Args:
        request: What is asked for; it has a student.
        setting: The teacher with its data.
        out: Folder for the results; the student, the teacher's answers and the state after each
            epoch are in its work folder.
        clock: The search's.
        progress: Told how far the work is.
        told: Told of each epoch.

    Returns:
        The student, in the original's place.

    Raises:
        InputError: The teacher, the data or an option does not fit.
        TrainingError: The training leads nowhere.
        ExportError: The export is not what was asked for.
        OutputError: The folder cannot be written.
    """
    from sprat.workflow.teach import teach

    assert request.student is not None
    asked = Asked(
        setting.path,
        out,
        setting,
        request.student,
        request.recipe,
        _OPSET,
        request.budget.max_drop,
        request.seed,
        request.limit,
    )
    own = Clock(request.recipe.minutes, clock.stop)
    with clock.apart():
        found = teach(asked, own, progress, told, clock.stop)
    clock.stages |= own.stages
    content = result_bytes(found.model, made_by="distillation")
    work_folder(out).write({STUDENT: content})
    taught = taught_record(asked, found)
    return Pupil(
        out / ".work" / STUDENT,
        taught,
        found.notes,
        _entry(setting, taught),
        tuple(_words(request, taught)),
        torch_versions(),
    )


def _entry(setting: Setting, taught: DistillationRecord) -> LogEntry:
    size = f" at {'x'.join(map(str, taught.size))}" if taught.size else ""
    return LogEntry(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        operation=f"distill {setting.path.name} --student {taught.student}",
        result=f"{taught.parameters:,} parameters{size}",
        notes=in_words(taught, metric_name(setting.reference)),
    )


def _words(request: Request, taught: DistillationRecord) -> list[str]:
    """Return the options that teach the student again; the record's recipe holds all else."""
    assert request.student is not None
    recipe, words = request.recipe, ["--student", taught.student]
    words += ["--epochs", str(taught.planned), "--student-minutes", f"{recipe.minutes:g}"]
    words += network_words(request.student)
    if recipe.mirror is not None:
        words.append("--mirror" if recipe.mirror else "--no-mirror")
    return words
