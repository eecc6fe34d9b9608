"""``optimize``: from a model and its data to the smallest model that still does its job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx

from sprat.crew.gather import gathered
from sprat.crew.workers import Workers
from sprat.data.dataset import Dataset
from sprat.data.options import DataOptions
from sprat.distillation.configs import Recipe, Student
from sprat.evaluate.constant import check_budget
from sprat.evaluate.types import Evaluation
from sprat.files import alone_in
from sprat.model.load import load, total_bytes
from sprat.model.outputs import keep_outputs
from sprat.model.wire import WireBytes, wire_bytes
from sprat.progress import Progress, Watch, silent
from sprat.record.schema import EpochRecord, Run, Source
from sprat.search.budget import choose
from sprat.search.candidates import Trial, begin
from sprat.spread import Spread
from sprat.workflow.budget import USUAL_RECIPE, Budget, Clock, Request
from sprat.workflow.contest import chosen_trial, compared_exactly, find_preview, others, walks
from sprat.workflow.distill import check_data
from sprat.workflow.line import Line, open_line, stand_in
from sprat.workflow.outcome import Findings, write
from sprat.workflow.pupil import STUDENT, Pupil, teach_pupil, work_folder
from sprat.workflow.run_folder import PREVIEW, RESULTS, RunFolder
from sprat.workflow.setting import Setting, open_setting


def _unheard(_epoch: EpochRecord, _left: float) -> None:
    pass


def optimize(
    model: Path,
    data: str | Path,
    out: Path,
    *,
    budget: Budget | None = None,
    reference: Path | None = None,
    student: Student | None = None,
    recipe: Recipe | None = None,
    options: DataOptions | None = None,
    seed: int = 0,
    limit: int | None = None,
    only_outputs: bool = False,
    workers: Workers | None = None,
    progress: Progress = silent,
    told: Callable[[EpochRecord, float], None] = _unheard,
    stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Find the smallest model that still does its job, and prove it.

    Clean the graph, propose candidates, measure each on ``val``, choose, and look once at
    ``test``, which took no part in the choice. Writes ``model.onnx``, ``sprat.toml``
    (how the data is read, for the commands that take ``out``), ``run.json``, ``report.html`` and
    ``history.jsonl`` into ``out``; what was measured stays under ``out/.work``, so that a killed
    run goes on where it was.

    With a ``student`` the model first teaches one, as ``distill`` does; then the curves of both
    are walked, each point is held against the model, and the best of all is chosen.

    Args:
        model: The model to make small.
        data: Folder, CSV, npz or ``package.module:function``.
        out: Folder for the results.
        budget: Goal, accuracy budget and time.
        reference: The original, where ``model`` is a student in its place: budget, agreement, time
            and bytes are held against it. None holds them against ``model`` itself.
        student: The network that learns from ``model`` and competes with it; it needs a split
            ``train``. None without.
        recipe: How it is taught; its ``minutes`` come on top of the budget's. 30 by default.
        options: Preprocessing and output options; they go before ``sprat.toml``.
        seed: Seed of every choice that needs one.
        limit: At most so many samples of each split.
        only_outputs: Drop the outputs that ``options`` do not select, and all that serves them
            alone; the original is measured as it is.
        workers: Who takes part; by default this process alone. The bytes of the result do not
            depend on it where the time suffices. A student is taught by this process.
        progress: Told how far the work is.
        told: Told of each epoch of the student's, and of the seconds that are probably left.
        stop: Asked between steps; True ends the search with the best point so far.

    Returns:
        The record of the run. ``choice.candidate`` is ``original`` where nothing smaller holds
        the budget. The student's candidates have ``source == "student"``, and ``distillation`` is
        the curve of its training.

    Raises:
        PackageMissingError: A student is wanted, and torch is not installed.
        InputError: The model, the data or an option is wrong.
        TrainingError: The student's training leads nowhere.
        ExportError: The student's export is not what was asked for.
        OutputError: The results cannot be written, or another run writes there.
    """
    request = Request(
        model,
        data,
        budget or Budget(),
        reference,
        student,
        recipe or USUAL_RECIPE,
        options,
        seed,
        limit,
        only_outputs,
    )
    request.check()
    folder = RunFolder.of(out, model, reference, data)
    folder.check((*RESULTS, *((PREVIEW,) if request.budget.preview is not None else ())))
    if student is not None:
        work_folder(out).check((STUDENT,))
    clock = Clock(request.budget.minutes, stop)
    watch = Watch(progress)
    with alone_in(out), gathered(workers, out / ".work" / "crew", watch) as spread:
        return _optimize(request, folder, clock, watch, told, spread)


def _optimize(
    request: Request,
    folder: RunFolder,
    clock: Clock,
    progress: Watch,
    told: Callable[[EpochRecord, float], None],
    spread: Spread,
) -> Run:
    out = folder.path
    with clock.stage("read and run the original"):
        setting = open_setting(
            request.original,
            request.data,
            request.options,
            limit=request.limit,
            progress=progress,
            spread=spread,
        )
        check_budget(setting.reference, request.budget.max_drop)
        if request.student is not None:
            check_data(setting)
    clock.last_look = _last_look_seconds(setting, clock.stages["read and run the original"])
    pupil = None
    if request.student is not None:
        with spread.resting():
            pupil = teach_pupil(request, setting, out, clock, progress, told)
    with clock.stage("clean"):
        lines = _lines(request, setting, out / ".work", pupil, progress, spread)
    begun = begin(lines[0].bench)
    trials = walks(lines, request.budget, clock)
    preview = None
    if request.budget.preview is not None:
        with clock.stage("find the preview"):
            preview = find_preview(lines, request.budget.preview, clock)
    # All methods are tried on the first line; a student competes by its curve alone.
    trials += others(lines[0], begun, trials, request.budget, clock)
    with clock.stage("compress the original"):
        before = lines[0].bench.store.value(
            {"wire": "original"},
            WireBytes,
            lambda: wire_bytes(total_bytes(setting.path), exact=False),
        )
    with clock.stage("compress the smallest"):
        trials = compared_exactly(lines, trials)
    record, reason = choose((t.record for t in trials), request.budget.goal, before.brotli)
    chosen = chosen_trial(trials, record, setting, before)
    with clock.stage("look at test once"):
        last = _last_look(lines, setting, chosen, progress)
    found = Findings(
        request,
        before,
        lines,
        pupil,
        tuple(trials),
        chosen,
        preview,
        reason,
        last,
        spread.parties,
    )
    told_of = replace(setting, notes=(*setting.notes, *spread.notes))
    return write(folder, told_of, found, clock, progress)


def _lines(
    request: Request,
    setting: Setting,
    work: Path,
    pupil: Pupil | None,
    progress: Watch,
    spread: Spread,
) -> tuple[Line, ...]:
    """Open what is made small: the original, a student given in its place, or both of them."""

    def opened(path: Path, model: onnx.ModelProto, source: Source, note: str = "") -> Line:
        return open_line(
            path,
            model,
            setting,
            source,
            work,
            max_drop=request.budget.max_drop,
            seed=request.seed,
            note=note,
            progress=progress,
            spread=spread,
        )

    if request.reference is not None:
        return (opened(request.model, stand_in(request.model, setting), "student"),)
    start = setting.model
    if request.only_outputs:
        start = keep_outputs(start, setting.options.outputs)
    original = opened(setting.path, start, "original")
    if pupil is None:
        return (original,)
    return (original, opened(pupil.path, load(pupil.path), "student", "; ".join(pupil.notes)))


def _last_look_seconds(setting: Setting, seconds: float) -> float:
    """Foresee how long original and choice take on ``test`` from what the original took."""
    if setting.data.final.digest == setting.data.choice.digest:
        return 0.0
    return 2 * seconds * len(setting.data.final.samples) / len(setting.data.choice.samples)


def _last_look(
    lines: tuple[Line, ...], setting: Setting, chosen: Trial, progress: Progress
) -> Evaluation | None:
    final: Dataset = setting.data.final
    if chosen.model is None or not final.samples or final.digest == setting.data.choice.digest:
        return None
    model, spread = chosen.model, lines[0].bench.spread
    parts = {"last look": chosen.record.sha256, "split": final.digest}
    return lines[0].bench.store.value(
        parts,
        Evaluation,
        lambda: setting.on(final, "test", progress, spread).evaluate(model, progress, spread),
    )
