"""``tune``: search for the student that trades fewest bytes for most accuracy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from sprat import __version__
from sprat.data.options import DataOptions
from sprat.distillation import extra as distillation
from sprat.distillation.configs import Recipe, Student
from sprat.errors import OptionError
from sprat.files import alone_in, sha256
from sprat.model.load import sha256_model
from sprat.progress import Progress, silent
from sprat.record.schema import Run
from sprat.tuning import extra as tuning
from sprat.tuning.space import Space, narrowed, sides, usual_space
from sprat.tuning.tally import Tally
from sprat.workflow.budget import Clock
from sprat.workflow.distill import check_data
from sprat.workflow.run_folder import RunFolder, check_database
from sprat.workflow.setting import Setting, open_setting
from sprat.workflow.trial import Question
from sprat.workflow.tuned import Tuned, write
from sprat.workflow.worker import Job, default_url, open_job, work_here
from sprat.workflow.workers import work_apart

#: Minutes that a trial's training takes where no epochs are given.
MINUTES = 10.0
#: Seconds between a worker's signs of life.
HEARTBEAT = 15


def _unheard(_tally: Tally) -> None:
    pass


def tune(
    teacher: Path,
    data: str | Path,
    out: Path,
    *,
    trials: int = 20,
    study: str | None = None,
    workers: int = 1,
    student: Student | None = None,
    recipe: Recipe | None = None,
    space: Mapping[str, str] | None = None,
    opset: int = 17,
    max_drop: float = 2.0,
    heartbeat: int = HEARTBEAT,
    options: DataOptions | None = None,
    seed: int = 0,
    limit: int | None = None,
    progress: Progress = silent,
    told: Callable[[Tally], None] = _unheard,
    stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Search over students and how they are taught, for bytes on the wire and accuracy on ``val``.

    Each trial teaches a student, quantizes it by rate and distortion, and measures both; ``test``
    is never looked at. All that is known stays in the study, so that the same command, here or on
    another machine, goes on with it. Writes ``sprat.toml`` with the configuration of fewest bytes
    within ``max_drop``, its quantized student ``model.onnx``, ``run.json``, ``report.html`` and a
    line of ``history.jsonl`` into ``out``.

    Args:
        teacher: The teacher's file.
        data: Folder, CSV, npz or ``package.module:function``, with a split ``train``.
        out: Folder for the results.
        trials: How many, all workers together.
        study: URL of a database, ``sqlite:///…`` or ``postgresql://…``; a file in ``out`` by
            default.
        workers: Processes here. They share the cores.
        student: The network that learns; its width and size are searched.
        recipe: How it is taught, but for what is searched. Without epochs, each trial plans as many
            as fit into its minutes, 10 by default.
        space: What is searched, by the names of :class:`sprat.tuning.space.Space`, each as
            ``low:high``, ``a,b,c`` or one value; the usual where nothing is said.
        opset: Of the students' files.
        max_drop: Points that accuracy may fall against the teacher's.
        heartbeat: Seconds between a worker's signs of life; after three its trial is taken over.
        options: Preprocessing and output options; they go before ``sprat.toml``.
        seed: Of the study; each trial's own comes from it and the configuration.
        limit: At most so many samples of each split.
        progress: Told how far the work is.
        told: Told of all trials after each one.
        stop: Asked at each step; True ends with the trials that there are.

    Returns:
        The record of the run, with the trials in ``tuning``. One worker with ``recipe.epochs`` and
        the same seed makes the same trials on one machine and number of threads.

    Raises:
        PackageMissingError: torch, optuna or psycopg is not installed.
        InputError: The teacher, the data or an option is wrong.
        TrainingError: No trial gave a result.
        OutputError: The results cannot be written, or another run writes there.
    """
    distillation.require()
    tuning.require(study)
    network, how = student or Student(), recipe or Recipe(minutes=MINUTES)
    network.check()
    how.check()
    _check(trials, workers, heartbeat, max_drop)
    folder = RunFolder.of(out, teacher, data)
    folder.check()
    if study is None:
        check_database(out / "study.db")
    from sprat.workflow.teach import check_opset

    check_opset(opset)
    question = Question(teacher, data, out, network, how, opset, options, seed, limit)
    clock = Clock(how.minutes, stop)
    # One command a folder; its own workers write there on purpose, and take no lock.
    with alone_in(out):
        with clock.stage("read and run the teacher"):
            setting = open_setting(teacher, data, options, limit=limit, progress=progress)
            check_data(setting)
        searched = _space(setting, question, space or {})
        job = Job(
            question,
            searched,
            _url(study, out),
            _name(setting, question, searched),
            trials,
            heartbeat,
        )
        with open_job(job) as opened:
            lost: list[str] = []
            with clock.stage("trials"):
                if workers == 1:
                    work_here(job, setting, progress, told, stop)
                else:
                    lost = work_apart(job, workers, progress, told, stop)
            found = Tuned(job, setting, opened, workers, max_drop, tuple(lost))
            return write(found, folder, clock, progress)


def _check(trials: int, workers: int, heartbeat: int, max_drop: float) -> None:
    for flag, value in (("trials", trials), ("workers", workers), ("heartbeat", heartbeat)):
        if value < 1:
            raise OptionError(f"must be at least 1, got {value}.", where=f"--{flag}")
    if not 0 <= max_drop <= 100:
        raise OptionError(f"must be 0 to 100 points, got {max_drop:g}.", where="--max-drop")


def _url(study: str | None, out: Path) -> str:
    """Return the study's URL: a file in ``out`` where none is given."""
    if study is not None:
        if "://" not in study:
            raise OptionError(
                f"must be a URL, got {study!r}.",
                where="--study",
                hint="Give sqlite:///FILE or postgresql://USER@HOST/DATABASE.",
            )
        return study
    return default_url(out)


def _space(setting: Setting, question: Question, given: Mapping[str, str]) -> Space:
    from sprat.distillation.students import has_widths
    from sprat.workflow.teach import contract_with

    contract = contract_with(setting)
    train = setting.data.train
    usual = usual_space(
        (contract.shape[-2], contract.shape[-1]) if contract.layout else None,
        has_widths=has_widths(question.student.name),
        has_labels=train is not None and any(s.label is not None for s in train.samples),
        optimizer=question.recipe.optimizer,
    )
    space = narrowed(usual, dict(given))
    for text in getattr(space.size, "values", ()):
        if text:
            replace(question.student, size=sides(text)).check()
    return space


def _name(setting: Setting, question: Question, space: Space) -> str:
    """Return the name of the study: of all that its trials depend on, so that it fits or is new."""
    assert setting.data.train is not None
    parts = (
        __version__,
        sha256_model(setting.path),
        setting.data.train.digest,
        setting.data.choice.digest,
        repr(setting.reference.reading),
        setting.options.metric,
        sha256(setting.reference.scores.tobytes()),  # a metric's code may be edited
        asdict(question.student),
        asdict(question.recipe),
        question.opset,
        question.seed,
        space.as_json(),
    )
    return f"sprat-{sha256(repr(parts).encode())[:16]}"
