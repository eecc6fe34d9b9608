"""The study that all workers share: opened by URL, worked off trial by trial."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from sprat.errors import OptionError, SpratError
from sprat.tuning.sampler import TrialSampler
from sprat.tuning.space import Draw, Space
from sprat.tuning.tally import REASON, SURPLUS, Tally, is_first, tally

#: Carries out one trial: br-11 bytes, and the score on val.
Objective = Callable[[optuna.Trial, Draw], tuple[float, float]]

#: Signs of life that a worker may miss before its trial is taken over.
_MISSED = 3
#: Deaths after which a trial is given up: it may be what kills.
_MOST_DEATHS = 3
#: Seconds that a worker waits for SQLite's lock.
_PATIENCE = 60


class SurplusError(Exception):
    """A trial is one too many: others began the last ones in the same moment."""


class TrialInterruptedError(Exception):
    """The user ended a trial: it is begun again, from its last epoch, when the study goes on."""


@contextmanager
def _experimental() -> Iterator[None]:
    """Use what optuna calls experimental, heartbeats, without a warning each time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def shown(url: str) -> str:
    """Return a study's URL without its password."""
    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return "***"


@contextmanager
def open_study(
    url: str, name: str, *, seed: int, heartbeat: int, first: dict[str, Any]
) -> Iterator[optuna.Study]:
    """Open a study, or begin it; its connections are closed afterwards.

    Args:
        url: ``sqlite:///FILE`` or ``postgresql://…``.
        name: Of the study in that database: the same for the same question.
        seed: Of what is drawn.
        heartbeat: Seconds between a worker's signs of life.
        first: The parameters of the first trial of a new study.

    Yields:
        The study: fewer bytes, higher score.

    Raises:
        OptionError: The database cannot be reached, or not any more.
    """
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)  # what happens is told by the tally
    try:
        storage = _storage(url, heartbeat)
        try:
            yield _begun(storage, name, seed, first)
        finally:
            storage.remove_session()
            storage.engine.dispose()
    except (SQLAlchemyError, StorageInternalError, ImportError) as error:
        reason = next(iter(str(error).splitlines()), "")
        raise OptionError(
            f"cannot be used ({type(error).__name__}: {reason}).",
            where=f"--study {shown(url)}",
            hint="Give sqlite:///FILE, or postgresql://USER@HOST/DATABASE of a running server. "
            "The same command goes on with what is there.",
        ) from error


def _begun(storage: RDBStorage, name: str, seed: int, first: dict[str, Any]) -> optuna.Study:
    """Return a study; who finds it without trials says what its first one is."""
    sampler = TrialSampler(seed)
    try:
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            sampler=sampler,
            directions=["minimize", "maximize"],
        )
    except DuplicatedStudyError:
        study = optuna.load_study(study_name=name, storage=storage, sampler=sampler)
    if not study.get_trials(deepcopy=False):  # who began it may have been killed since
        study.enqueue_trial(first, skip_if_exists=True)
    return study


def _storage(url: str, heartbeat: int) -> RDBStorage:
    kind, _, rest = url.partition("://")
    if kind in ("postgres", "postgresql"):
        url = f"postgresql+psycopg://{rest}"
    engine = {"connect_args": {"timeout": _PATIENCE}} if kind.startswith("sqlite") else {}
    try:
        return _connected(url, heartbeat, engine)
    except (IntegrityError, ProgrammingError):
        # Another worker made the tables of an empty database in the same moment.
        return _connected(url, heartbeat, engine)


def _connected(url: str, heartbeat: int, engine: dict[str, Any]) -> RDBStorage:
    with _experimental():
        storage = RDBStorage(
            url,
            engine_kwargs={**engine, "pool_pre_ping": True},
            heartbeat_interval=heartbeat,
            grace_period=_MISSED * heartbeat,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(_MOST_DEATHS),
        )
    if storage.engine.dialect.name == "sqlite":
        _lock_at_once(storage.engine)
    return storage


def _lock_at_once(engine: sqlalchemy.Engine) -> None:
    """Let each transaction on SQLite lock the file from its beginning.

    SQLite has no ``SELECT … FOR UPDATE``, by which optuna takes a waiting trial: two workers would
    read that it waits, and both take it.
    """

    @sqlalchemy.event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver begins no transaction of its own

    @sqlalchemy.event.listens_for(engine, "begin")
    def _begin(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # connections that were opened before


def count(study: optuna.Study, wanted: int) -> Tally:
    """Account for every trial of a study.

    Args:
        study: The study.
        wanted: How many trials are asked for.
    """
    return tally(study.get_trials(deepcopy=False), wanted)


def work(
    study: optuna.Study,
    space: Space,
    wanted: int,
    objective: Objective,
    *,
    heartbeat: int,
    stop: Callable[[], bool],
    told: Callable[[Tally], None],
) -> None:
    """Carry out trials until all have come to an end, by this worker or another.

    A trial whose worker gives no more signs of life is begun again, by whoever is free. At the end
    a worker waits for the trials of others: one of them may yet be left behind.

    Args:
        study: The study.
        space: What is searched.
        wanted: Trials in all.
        objective: Carries out one.
        heartbeat: Seconds between signs of life.
        stop: Says whether the user asked for an end.
        told: Told of all trials after each one.
    """
    worker = Worker(study, space, wanted, objective)
    while not stop():
        with _experimental():
            optuna.storages.fail_stale_trials(study)
        now = count(study, wanted)
        if now.has_work:
            worker.take()
            told(count(study, wanted))
        elif now.is_done:
            return
        else:
            _wait(heartbeat, stop)


def _wait(seconds: float, stop: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not stop():
        time.sleep(0.1)


class Worker:
    """Takes up one trial after the other."""

    def __init__(
        self, study: optuna.Study, space: Space, wanted: int, objective: Objective
    ) -> None:
        self._study, self._space, self._wanted = study, space, wanted
        self._objective = objective
        self._number = -1
        self._error: Exception | None = None
        self._is_interrupted = False

    def take(self) -> None:
        """Carry out one trial."""
        try:
            self._study.optimize(
                self._run, n_trials=1, catch=(SurplusError, TrialInterruptedError, SpratError)
            )
        except ValueError as error:
            # Not the trial's own: a trial ends once, and another worker took this one for dead.
            if error is self._error or not self._frozen().state.is_finished():
                raise
            return
        if self._is_interrupted:
            with _experimental():
                RetryHeartbeatStaleTrialCallback()(self._study, self._frozen())

    def _frozen(self) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[self._number]

    def _run(self, trial: optuna.Trial) -> tuple[float, float]:
        self._number, self._is_interrupted = trial.number, False
        if self._is_surplus():
            trial.set_user_attr(SURPLUS, True)
            raise SurplusError
        try:
            return self._objective(trial, self._space.draw(trial))
        except (SpratError, optuna.TrialPruned) as error:
            trial.set_user_attr(REASON, str(error))
            raise
        except TrialInterruptedError:
            self._is_interrupted = True
            raise
        except Exception as error:
            self._error = error
            raise

    def _is_surplus(self) -> bool:
        """Say whether others began the last of the trials in the same moment."""
        trials = self._study.get_trials(deepcopy=False)
        before = sum(is_first(t) for t in trials[: self._number])
        return is_first(trials[self._number]) and before >= self._wanted
