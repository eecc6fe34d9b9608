"""What a search over students found, and what is written of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

import onnx

from sprat import __version__
from sprat.errors import TrainingError
from sprat.evaluate.types import Evaluation
from sprat.files import sha256, sha256_file
from sprat.model.inspect import inspect
from sprat.model.load import total_bytes
from sprat.model.wire import WireBytes, wire_bytes
from sprat.progress import Progress
from sprat.record.schema import (
    CandidateRecord,
    ChoiceRecord,
    FileRecord,
    LogEntry,
    Run,
    TrialRecord,
    TuningRecord,
)
from sprat.record.versions import machine, versions
from sprat.search.budget import holds
from sprat.tuning.front import pareto
from sprat.tuning.tally import REASON, Line, State, Tally
from sprat.workflow.budget import Clock
from sprat.workflow.outcome import data_record
from sprat.workflow.run_folder import MODEL, OPTIONS, PREVIEW, RunFolder
from sprat.workflow.setting import Setting
from sprat.workflow.trial import carry_out
from sprat.workflow.wording import as_command, as_config, drawn_of, shown_url
from sprat.workflow.worker import Job

if TYPE_CHECKING:
    import optuna

_ENDS: tuple[State, ...] = ("complete", "pruned", "failed", "running", "waiting")


@dataclass(frozen=True)
class Tuned:
    """A study that was worked off, or broken off.

    Attributes:
        job: What was to be done.
        setting: The teacher with its data.
        study: The study.
        workers: Processes of this run.
        max_drop: Points that accuracy may fall.
        lost: Of each worker that was killed, how.
    """

    job: Job
    setting: Setting
    study: optuna.Study
    workers: int
    max_drop: float
    lost: tuple[str, ...]


def write(tuned: Tuned, out: RunFolder, clock: Clock, progress: Progress) -> Run:
    """Choose, and write configuration, student, record, log and report.

    Args:
        tuned: The study.
        out: The folder.
        clock: Seconds by stage.
        progress: Told how far the work is.

    Returns:
        The record.

    Raises:
        TrainingError: No trial gave a result.
        OutputError: A file cannot be written.
    """
    from sprat.tuning.study import count

    tally = count(tuned.study, tuned.job.trials)
    candidates = _candidates(tally, tuned.max_drop)
    best, reason = _best(candidates, tally)
    with clock.stage("write the best"):
        content = _model(tuned, candidates[best], _line(tally, best), progress)
        before = wire_bytes(total_bytes(tuned.setting.path), exact=False)
        after = FileRecord(path="model.onnx", sha256=sha256(content), wire=wire_bytes(content))
        # Once more, for the samples that changed their answer: the study does not keep them.
        look = tuned.setting.reference.evaluate(onnx.load_from_string(content), progress)
    config = as_config(tuned.job, tuned.setting, candidates[best], _line(tally, best))
    run = _record(tuned, tally, candidates, (best, reason, look), (before, after), clock)
    samples = tuned.setting.data.choice.samples
    pictures = {s.name: s.path for s in samples if s.path is not None}
    out.commit(run, files={MODEL: content, OPTIONS: config}, pictures=pictures, remove=(PREVIEW,))
    return run


def _candidates(tally: Tally, max_drop: float) -> dict[int, CandidateRecord]:
    """Return what each complete trial gave, by its number, held against the budget."""
    found = {}
    for line in tally.lines:
        if line.state == "complete":
            record = CandidateRecord.model_validate_json(line.said["result"])
            assert record.evaluation is not None
            fits = holds(record.evaluation, max_drop)
            outcome = "within budget" if fits else "over budget"
            found[line.first] = record.model_copy(update={"outcome": outcome})
    return found


def _best(candidates: dict[int, CandidateRecord], tally: Tally) -> tuple[int, str]:
    """Choose the fewest bytes within the budget; else what loses least."""
    if not candidates:
        said = next((line.said[REASON] for line in tally.lines if REASON in line.said), "")
        raise TrainingError(
            f"no trial has given a result yet: {tally.count('failed')} failed, "
            f"{tally.count('pruned')} were ended early. {said}".strip(),
            hint="The same command goes on with the study.",
        )
    fit = [n for n, c in candidates.items() if c.outcome == "within budget"]
    if fit:
        best = min(fit, key=lambda n: (_bytes(candidates[n]), n))
        return best, f"Fewest br-11 bytes of {len(fit)} trials within the budget."
    best = min(candidates, key=lambda n: (_evaluation(candidates[n]).drop, n))
    return best, "No trial holds the budget; this one loses least."


def _model(tuned: Tuned, record: CandidateRecord, line: Line, progress: Progress) -> bytes:
    """Return the best trial's model: as this machine keeps it, or else made again."""
    question = tuned.job.question
    kept = question.kept(record.sha256)
    if not (kept.is_file() and sha256_file(kept) == record.sha256):
        # It was made elsewhere; its epochs are known now, so that time does not plan them anew.
        recipe = replace(question.recipe, epochs=line.said["planned"])
        made = carry_out(
            replace(question, recipe=recipe),
            tuned.setting,
            drawn_of(record),
            record.name,
            progress=progress,
            told=lambda _epoch, _left: None,
            stop=lambda: False,
        )
        assert made is not None
        kept = question.kept(made[0].sha256)
    return kept.read_bytes()


def _record(
    tuned: Tuned,
    tally: Tally,
    candidates: dict[int, CandidateRecord],
    chosen: tuple[int, str, Evaluation],
    wires: tuple[WireBytes, FileRecord],
    clock: Clock,
) -> Run:
    job, setting = tuned.job, tuned.setting
    question, (best, reason, validation), (before, model) = job.question, chosen, wires
    candidates = {**candidates, best: candidates[best].model_copy(update={"outcome": "chosen"})}
    front = pareto((n, _bytes(c), _evaluation(c).model) for n, c in candidates.items())
    return Run(
        sprat=__version__,
        versions={**versions(), **{n: version(n) for n in ("torch", "torchvision", "optuna")}},
        machine=machine(),
        command=as_command(tuned.job, tuned.setting, tuned.workers, tuned.max_drop),
        seed=question.seed,
        options={
            "max_drop": tuned.max_drop,
            "trials": job.trials,
            "minutes_per_trial": question.recipe.minutes,
            "limit": question.limit,
        },
        model=FileRecord(
            path=question.teacher.name, sha256=sha256_file(question.teacher), wire=before
        ),
        outputs=(model,),
        data=data_record(setting, train="training", test="not looked at"),
        inspection=inspect(question.teacher),
        candidates=tuple(candidates.values()),
        choice=ChoiceRecord(
            candidate=candidates[best].name,
            goal="small",
            max_drop=tuned.max_drop,
            reason=reason,
            validation=validation,
        ),
        tuning=TuningRecord(
            study=shown_url(job.url),
            name=job.name,
            student=question.student.name,
            wanted=job.trials,
            workers=tuned.workers,
            space=job.space.as_json(),
            trials=tuple(_trial(line) for line in tally.lines),
            front=front,
            best=best,
        ),
        timings=clock.stages,
        log=(_entry(tuned, tally, front, candidates[best]),),
    )


def _trial(line: Line) -> TrialRecord:
    said = line.said
    return TrialRecord(
        number=line.first,
        state=line.state,
        attempts=line.attempts,
        seed=said.get("seed"),
        parameters=said.get("parameters"),
        drawn=said.get("drawn", {}),
        epochs=len(said.get("losses", {})),
        planned=said.get("planned", 0),
        note=said.get(REASON, "" if line.state != "failed" else "its worker was killed each time."),
    )


def _entry(tuned: Tuned, tally: Tally, front: tuple[int, ...], best: CandidateRecord) -> LogEntry:
    question, look = tuned.job.question, _evaluation(best)
    ends = ", ".join(f"{tally.count(s)} {s}" for s in _ENDS if tally.count(s))
    again = sum(line.attempts - 1 for line in tally.lines)
    return LogEntry(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        operation=f"tune {question.teacher.name} --student {question.student.name}",
        result=f"{best.name}: {_bytes(best):,} bytes br-11, {look.metric} drop {look.drop:+.2f} "
        f"points on {look.split} (95 % {look.interval.low:+.2f} to {look.interval.high:+.2f})",
        notes=f"{tuned.job.trials} trials: {ends}; {again} begun again; {len(front)} on the front"
        + "".join(f"; {loss}" for loss in tuned.lost),
    )


def _line(tally: Tally, number: int) -> Line:
    return next(line for line in tally.lines if line.first == number)


def _bytes(candidate: CandidateRecord) -> int:
    assert candidate.wire is not None
    return candidate.wire.brotli


def _evaluation(candidate: CandidateRecord) -> Evaluation:
    assert candidate.evaluation is not None
    return candidate.evaluation
