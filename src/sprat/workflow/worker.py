"""A worker of ``tune``: it carries out the trials of a study, one after the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sprat.errors import SpratError, TrainingError
from sprat.progress import Progress
from sprat.record.schema import EpochRecord
from sprat.sealed import remove_sealed
from sprat.tuning.pruning import Course, is_behind
from sprat.tuning.space import Draw, Space
from sprat.tuning.tally import Tally, first_number
from sprat.workflow.setting import Setting
from sprat.workflow.trial import Question, candidate_name, carry_out, states_of

if TYPE_CHECKING:
    import optuna

#: Hears of all trials after each one.
Told = Callable[[Tally], None]


@dataclass(frozen=True)
class Job:
    """What a worker does.

    Attributes:
        question: What all trials have in common.
        space: What is searched.
        url: Of the database.
        name: Of the study in it.
        trials: How many are wanted.
        heartbeat: Seconds between signs of life.
        threads: That the worker may use; None: all.
    """

    question: Question
    space: Space
    url: str
    name: str
    trials: int
    heartbeat: int
    threads: int | None = None


def default_url(out: Path) -> str:
    """Return the URL of the study that lies in a folder of results."""
    return f"sqlite:///{(out / 'study.db').resolve()}"


def open_job(job: Job) -> AbstractContextManager[optuna.Study]:
    """Return what opens a job's study, or begins it.

    Raises:
        OptionError: On entering: the database cannot be reached.
    """
    from sprat.tuning.study import open_study

    seed, first = job.question.seed, job.space.usual()
    return open_study(job.url, job.name, seed=seed, heartbeat=job.heartbeat, first=first)


def work_here(
    job: Job, setting: Setting, progress: Progress, told: Told, stop: Callable[[], bool]
) -> None:
    """Carry out trials in this process until all have come to an end.

    Args:
        job: What is to be done.
        setting: The teacher with its data.
        progress: Told how far each step is.
        told: Told of all trials after each one.
        stop: Says whether the user asked for an end.

    Raises:
        OptionError: The database cannot be reached.
    """
    from sprat.tuning.study import work

    with open_job(job) as study:

        def objective(trial: optuna.Trial, drawn: Draw) -> tuple[float, float]:
            return _objective(job, setting, study, trial, drawn, progress, stop)

        work(study, job.space, job.trials, objective, heartbeat=job.heartbeat, stop=stop, told=told)


def _objective(
    job: Job,
    setting: Setting,
    study: optuna.Study,
    trial: optuna.Trial,
    drawn: Draw,
    progress: Progress,
    stop: Callable[[], bool],
) -> tuple[float, float]:
    import optuna

    from sprat.tuning.study import TrialInterruptedError
    from sprat.workflow.teach import outlined

    question = job.question
    weights, _ = outlined(setting, question.student_of(drawn))
    for name, value in (
        ("drawn", drawn.as_json()),
        ("seed", drawn.seed(question.seed)),
        ("parameters", weights),
    ):
        trial.set_user_attr(name, value)
    losses: dict[str, float] = dict(trial.user_attrs.get("losses", {}))

    def heard(epoch: EpochRecord, left: float) -> None:
        # What is left is the epochs that are left, times the seconds of this one.
        planned = epoch.epoch + round(left / max(epoch.seconds, 1e-9))
        losses[str(epoch.epoch)] = epoch.divergence
        trial.set_user_attr("planned", planned)
        trial.set_user_attr("losses", losses)
        others = study.get_trials(deepcopy=False)
        courses = [c for t in others if t.number != trial.number and (c := _course(t)) is not None]
        own = Course(weights * drawn.bits, planned, {int(k): v for k, v in losses.items()})
        if is_behind(own, courses):
            raise optuna.TrialPruned(f"behind the others after epoch {epoch.epoch} of {planned}.")

    name = candidate_name(first_number(study.get_trials(deepcopy=False)[trial.number]))
    try:
        found = carry_out(question, setting, drawn, name, progress=progress, told=heard, stop=stop)
    except (SpratError, optuna.TrialPruned):
        remove_sealed(states_of(question, drawn))
        raise
    if found is None:
        raise TrialInterruptedError
    record, planned = found
    assert record.wire is not None
    assert record.evaluation is not None
    if not math.isfinite(record.evaluation.model):
        raise TrainingError(
            "the quantized student's score is no number.",
            hint="Give more --bits-per-weight.",
        )
    trial.set_user_attr("planned", planned)
    trial.set_user_attr("result", record.model_dump_json())
    return record.wire.brotli, record.evaluation.model


def _course(trial: optuna.trial.FrozenTrial) -> Course | None:
    """Return how far a trial has come; None before its first epoch."""
    said = trial.user_attrs
    if "losses" not in said or "planned" not in said:
        return None
    bits = said["parameters"] * said["drawn"]["bits"]
    return Course(bits, said["planned"], {int(k): v for k, v in said["losses"].items()})
