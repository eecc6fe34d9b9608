"""The workers of ``tune``: this process, or several that share a study."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING, Any

from sprat.errors import SpratError, TrainingError
from sprat.parallel import cores
from sprat.progress import Progress
from sprat.record.schema import EpochRecord
from sprat.tuning.pruning import Course, is_behind
from sprat.tuning.space import Draw, Space
from sprat.tuning.tally import Tally, first_number
from sprat.workflow.setting import Setting, open_setting
from sprat.workflow.trial import Question, candidate_name, carry_out, states_of

if TYPE_CHECKING:
    import optuna

#: Seconds after which the parent looks whether the user asked for an end.
_LOOK = 0.2

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


def open_job(job: Job) -> optuna.Study:
    """Open a job's study, or begin it.

    Raises:
        OptionError: The database cannot be reached.
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

    study = open_job(job)

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

    question = job.question
    weights = _parameters(question, setting, drawn)
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
        shutil.rmtree(states_of(question, drawn), ignore_errors=True)
        raise
    if found is None:
        raise TrialInterruptedError
    assert found.wire is not None
    assert found.evaluation is not None
    trial.set_user_attr("result", found.model_dump_json())
    return found.wire.brotli, found.evaluation.model


def _course(trial: optuna.trial.FrozenTrial) -> Course | None:
    """Return how far a trial has come; None before its first epoch."""
    said = trial.user_attrs
    if "losses" not in said or "planned" not in said:
        return None
    bits = said["parameters"] * said["drawn"]["bits"]
    return Course(bits, said["planned"], {int(k): v for k, v in said["losses"].items()})


def _parameters(question: Question, setting: Setting, drawn: Draw) -> int:
    """Return how many parameters a trial's student has, before it is taught."""
    import torch

    from sprat.distillation.students import build
    from sprat.workflow.teach import contract_with

    contract, student = contract_with(setting), question.student_of(drawn)
    size = student.size or (contract.shape[-2:] if contract.layout else ())
    with torch.random.fork_rng():
        body, _ = build(student, contract.columns, contract.shape[0] if contract.shape else 1, size)
    return sum(p.numel() for p in body.parameters())


class _Orphaned(BaseException):
    """The parent is gone; not an ``Exception``, so that nothing takes it for a trial's fault."""


def _child(job: Job, line: Connection) -> None:
    """Be a worker process: tell the parent what happens, and end when it says so or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which passes it on
    os.environ["SPRAT_THREADS"] = str(job.threads or cores())

    def send(*message: Any) -> None:
        try:
            line.send(message)
        except OSError as error:
            raise _Orphaned from error

    def progress(stage: str, done: float, total: float) -> None:
        send("progress", stage, done, total)

    try:
        question = job.question
        setting = open_setting(
            question.teacher, question.data, question.options, limit=question.limit
        )
        work_here(job, setting, progress, lambda tally: send("told", tally), line.poll)
    except SpratError as error:
        send("error", type(error), error.what, error.where, error.hint)
    except _Orphaned:
        return


@dataclass
class _Worker:
    number: int
    process: SpawnProcess
    line: Connection


def work_apart(
    job: Job, count: int, progress: Progress, told: Told, stop: Callable[[], bool]
) -> list[str]:
    """Carry out trials in several processes until all have come to an end.

    Args:
        job: What is to be done.
        count: Processes; they share the cores.
        progress: Told how far each step of each worker is.
        told: Told of all trials after each one.
        stop: Says whether the user asked for an end.

    Returns:
        Of each worker that was killed, how; its trial was taken over by another.

    Raises:
        SpratError: A worker's own, where none could go on.
        TrainingError: All workers were killed.
    """
    crew = _hire(replace(job, threads=max(1, cores() // count)), count)
    errors: list[SpratError] = []
    lost: list[str] = []
    alive, is_told = {w.line: w for w in crew}, False
    try:
        while alive:
            if stop() and not is_told:
                is_told = True
                for line in alive:
                    _tell(line)
            for ready in wait(list(alive), _LOOK):
                worker = next(w for w in crew if w.line is ready)
                try:
                    _hear(worker, progress, told, errors)
                except EOFError:
                    del alive[worker.line]
                    worker.process.join()
                    if worker.process.exitcode:
                        lost.append(f"worker {worker.number} ended by {worker.process.exitcode}")
    finally:
        for worker in crew:
            worker.process.terminate()
            worker.process.join()
    if errors and len(errors) + len(lost) == count:
        raise errors[0]
    if len(lost) == count:
        raise TrainingError(
            f"all {count} workers were killed ({lost[0]}).",
            hint="The same command goes on; fewer --workers take less memory.",
        )
    return lost


def _hire(job: Job, count: int) -> list[_Worker]:
    context = multiprocessing.get_context("spawn")
    crew = []
    for number in range(1, count + 1):
        ours, theirs = context.Pipe()
        process = context.Process(target=_child, args=(job, theirs), daemon=True)
        process.start()
        theirs.close()  # so that the line ends with the worker
        crew.append(_Worker(number, process, ours))
    return crew


def _tell(line: Connection) -> None:
    """Ask a worker to end; one that is dead already needs no asking."""
    try:
        line.send("end")
    except OSError:
        return


def _hear(worker: _Worker, progress: Progress, told: Told, errors: list[SpratError]) -> None:
    kind, *rest = worker.line.recv()
    if kind == "progress":
        stage, done, total = rest
        progress(f"worker {worker.number}: {stage}", done, total)
    elif kind == "told":
        told(rest[0])
    else:
        made, what, where, hint = rest
        errors.append(made(what, where=where, hint=hint))
