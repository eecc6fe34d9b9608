"""Several workers of ``tune`` on this machine: processes that share a study."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from sprat.errors import SpratError, TrainingError
from sprat.parallel import cores
from sprat.progress import Progress
from sprat.workflow.setting import open_setting
from sprat.workflow.worker import Job, Told, work_here

#: Seconds after which the parent looks whether the user asked for an end.
_LOOK = 0.2


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
                if not _hear(worker, progress, told, errors):
                    del alive[worker.line]
                    worker.process.join()
                    if worker.process.exitcode:
                        lost.append(f"worker {worker.number} ended by {worker.process.exitcode}")
    finally:
        for worker in crew:  # nothing can be half-written: files get their names at the end
            worker.process.kill()
        for worker in crew:
            worker.process.join()
    if errors and len(errors) + len(lost) == count:
        raise errors[0]
    if len(lost) == count:
        raise TrainingError(
            f"all {count} workers were killed ({lost[0]}).",
            hint="The same command goes on; fewer --workers take less memory.",
        )
    return [*lost, *(f"a worker ended with an error: {error}" for error in errors)]


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


def _hear(worker: _Worker, progress: Progress, told: Told, errors: list[SpratError]) -> bool:
    """Hear what a worker says; return False when it has ended."""
    try:
        kind, *rest = worker.line.recv()
    except (EOFError, OSError):
        return False
    if kind == "progress":
        stage, done, total = rest
        progress(f"worker {worker.number}: {stage}", done, total)
    elif kind == "told":
        told(rest[0])
    else:
        made, what, where, hint = rest
        errors.append(made(what, where=where, hint=hint))
    return True
