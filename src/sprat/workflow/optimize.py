"""``optimize``: from a model and its data to the smallest model that still does its job."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sprat import __version__
from sprat.crew.gather import gathered
from sprat.crew.workers import Workers
from sprat.data.dataset import Dataset
from sprat.data.options import DataOptions
from sprat.errors import NoGainError, OptionError, OutputError
from sprat.evaluate.types import Evaluation
from sprat.files import alone_in, sha256_file
from sprat.graph.simplify import simplify
from sprat.model.load import total_bytes
from sprat.model.nodes import name_nodes
from sprat.model.wire import WireBytes, wire_bytes
from sprat.progress import Progress, Watch, silent
from sprat.record.schema import CandidateRecord, Run
from sprat.record.versions import versions
from sprat.search.budget import FAST_BYTES, choose
from sprat.search.candidates import Bench, Trial, begin, proposals
from sprat.search.rate import Curve, calibration_batches, smallest_under, walk, walk_fast
from sprat.search.repair import repair
from sprat.search.store import Store
from sprat.spread import Spread
from sprat.workflow.budget import Budget, Clock
from sprat.workflow.outcome import Findings, write
from sprat.workflow.setting import Setting, is_fixed, open_setting

#: The walk along the curve may take this much of the search's time, and all candidates this much:
#: the rest is the preview's.
_WALK_SHARE = 0.8
_SEARCH_SHARE = 0.9
#: Estimated bytes may be wrong by this factor.
_CLOSE = 1.1


def optimize(
    model: Path,
    data: str | Path,
    out: Path,
    *,
    budget: Budget | None = None,
    options: DataOptions | None = None,
    seed: int = 0,
    limit: int | None = None,
    workers: Workers | None = None,
    progress: Progress = silent,
    stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Find the smallest model that still does its job, and prove it.

    Clean the graph, propose candidates, measure each on ``val``, choose, and look once at
    ``test``, which took no part in the choice. Writes ``model.onnx``, ``run.json``,
    ``report.html`` and ``history.jsonl`` into ``out``; what was measured stays under
    ``out/.work``, so that a killed run goes on where it was.

    Args:
        model: The original's file.
        data: Folder, CSV, npz or ``package.module:function``.
        out: Folder for the results.
        budget: Goal, accuracy budget and time.
        options: Preprocessing and output options; they go before ``sprat.toml``.
        seed: Seed of every choice that needs one.
        limit: At most so many samples of each split.
        workers: Who takes part; by default this process alone. The bytes of the result do not
            depend on it where the time suffices.
        progress: Told how far the work is.
        stop: Asked between steps; True ends the search with the best point so far.

    Returns:
        The record of the run. ``choice.candidate`` is ``original`` where nothing smaller holds
        the budget.

    Raises:
        InputError: The model, the data or an option is wrong.
        OutputError: The results cannot be written, or another run writes there.
    """
    wanted = budget or Budget()
    wanted.check()
    if out.exists() and not out.is_dir():
        raise OutputError("is a file.", where=str(out), hint="Give a folder.")
    clock = Clock(wanted.minutes, stop)
    watch = Watch(progress)
    with alone_in(out), gathered(workers, out / ".work" / "crew", watch) as spread:
        return _optimize(model, data, out, wanted, options, seed, limit, clock, watch, spread)


def _optimize(
    model: Path,
    data: str | Path,
    out: Path,
    wanted: Budget,
    options: DataOptions | None,
    seed: int,
    limit: int | None,
    clock: Clock,
    progress: Watch,
    spread: Spread,
) -> Run:
    with clock.stage("read and run the original"):
        setting = open_setting(model, data, options, limit=limit, progress=progress, spread=spread)
    clock.last_look = _last_look_seconds(setting, clock.stages["read and run the original"])
    with clock.stage("clean"):
        samples = setting.calibration()
        cleaned = simplify(setting.model, samples[:2], progress=progress)
    bench = Bench(
        original=setting.model,
        clean=name_nodes(cleaned.model),
        samples=samples,
        reference=setting.reference,
        store=Store(out / ".work", _basis(setting, seed)),
        max_drop=wanted.max_drop,
        progress=progress,
        spread=spread,
    )
    curve = _curve(bench, setting)
    trials = _search(bench, curve, wanted, clock)
    with clock.stage("compress the original"):
        before = bench.store.value(
            {"wire": "original"},
            WireBytes,
            lambda: wire_bytes(total_bytes(model), exact=False),
        )
    with clock.stage("compress the smallest"):
        trials = _compared_exactly(bench, trials)
    preview = None
    if wanted.preview is not None:
        with clock.stage("find the preview"):
            preview = _preview(curve, wanted.preview, clock)
    record, reason = choose((t.record for t in trials), wanted.goal, before.brotli)
    chosen = _chosen_trial(trials, record, setting, before)
    with clock.stage("look at test once"):
        last = _last_look(bench, setting, chosen, progress)
    return write(
        out,
        setting,
        Findings(
            wanted,
            before,
            cleaned,
            tuple(trials),
            chosen,
            preview,
            curve,
            reason,
            last,
            seed,
            limit,
            spread.parties,
        ),
        clock,
        progress,
    )


def _preview(curve: Curve, limit: int, clock: Clock) -> Trial | None:
    """Find the preview; one that cannot be had is no reason to lose the search's result."""
    try:
        return smallest_under(curve, limit, clock.expired)
    except (OptionError, NoGainError) as error:
        record = CandidateRecord(
            name="preview", method="rate-distortion", outcome="failed", note=str(error)
        )
        return Trial(record, None)


def _curve(bench: Bench, setting: Setting) -> Curve:
    batches = calibration_batches(
        setting.data.calibration, bench.reference.size, fixed=is_fixed(setting.model)
    )
    return Curve(bench, batches)


def _last_look_seconds(setting: Setting, seconds: float) -> float:
    """Foresee how long original and choice take on ``test`` from what the original took."""
    if setting.data.final.digest == setting.data.choice.digest:
        return 0.0
    return 2 * seconds * len(setting.data.final.samples) / len(setting.data.choice.samples)


def _search(bench: Bench, curve: Curve, budget: Budget, clock: Clock) -> list[Trial]:
    def walked() -> bool:
        # The first point is what the whole is for: it is made even where time is short.
        return clock.stop() or (bool(curve.trials) and clock.expired(_WALK_SHARE))

    def late() -> bool:
        return clock.expired(_SEARCH_SHARE)

    begun = begin(bench)
    # The curve comes first: where time runs out, the others are missed least.
    with clock.stage("walk along the rate-distortion curve"):
        trials = walk(curve, budget.max_drop, walked)
        if budget.goal == "fast":
            trials += walk_fast(curve, trials, late)
    for name, config in proposals(bench.clean):
        with clock.stage(f"try {name}"), bench.progress.until(late):
            bench.store.adopt(begun.take(name) or ())
            trials.append(bench.propose(name, config))
    with clock.stage("repair"):
        for name, config in proposals(bench.clean):
            trial = next((t for t in trials if t.record.name == name), None)
            if trial is not None and not late() and _worth_repair(trial, trials, budget):
                trials.extend(repair(bench, name, config, late))
    return trials


def _compared_exactly(bench: Bench, trials: list[Trial]) -> list[Trial]:
    """Measure the bytes of all that an estimate cannot tell from the smallest."""
    sizes = [
        t.record.wire.brotli
        for t in trials
        if t.record.outcome == "within budget" and t.record.wire is not None
    ]
    limit = _CLOSE * FAST_BYTES * min(sizes, default=0)
    return [
        bench.exactly(t) if t.record.wire is not None and t.record.wire.brotli <= limit else t
        for t in trials
    ]


def _worth_repair(trial: Trial, trials: list[Trial], budget: Budget) -> bool:
    """Repair only what could still win: giving precision back never makes a file smaller."""
    record = trial.record
    if record.outcome != "over budget" or record.wire is None:
        return False
    fit = [t.record for t in trials if t.record.outcome == "within budget" and t.record.wire]
    if budget.goal == "fast":
        ratios = [c.speed.ratio for c in fit if c.speed is not None]
        return record.speed is not None and record.speed.ratio < min(ratios, default=1.0)
    smallest = min((c.wire.brotli for c in fit if c.wire is not None), default=1 << 62)
    return record.wire.brotli < smallest


def _chosen_trial(
    trials: list[Trial], record: CandidateRecord | None, setting: Setting, before: WireBytes
) -> Trial:
    if record is not None:
        found = next(t for t in trials if t.record.name == record.name)
        return Trial(found.record.model_copy(update={"outcome": "chosen"}), found.model)
    own = setting.reference.evaluate(setting.model)
    kept = CandidateRecord(
        name="original", method="float32", outcome="chosen", wire=before, evaluation=own
    )
    return Trial(kept, setting.model)


def _last_look(
    bench: Bench, setting: Setting, chosen: Trial, progress: Progress
) -> Evaluation | None:
    final: Dataset = setting.data.final
    if chosen.model is None or not final.samples or final.digest == setting.data.choice.digest:
        return None
    model = chosen.model
    parts = {"last look": chosen.record.sha256, "split": final.digest}
    return bench.store.value(
        parts,
        Evaluation,
        lambda: setting.on(final, "test", progress, bench.spread).evaluate(
            model, progress, bench.spread
        ),
    )


def _basis(setting: Setting, seed: int) -> dict[str, object]:
    return {
        "sprat": __version__,
        "versions": versions(),
        "model": sha256_file(setting.path),
        "calibration": setting.data.calibration.digest,
        "choice": setting.data.choice.digest,
        "reading": repr(setting.reference.reading),
        "metric": setting.options.metric,
        "seed": seed,
    }
