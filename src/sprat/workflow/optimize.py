"""``optimize``: from a model and its data to the smallest model that still does its job."""

from __future__ import annotations

import os
import platform
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from sprat import __version__
from sprat.data.dataset import Dataset
from sprat.data.options import DataOptions
from sprat.errors import NoGainError, OptionError, OutputError
from sprat.evaluate.types import Evaluation, Speed
from sprat.files import sha256, sha256_file, write_atomic
from sprat.graph.simplify import Simplified, simplify
from sprat.model.inspect import inspect
from sprat.model.load import total_bytes
from sprat.model.nodes import name_nodes
from sprat.model.wire import WireBytes, wire_bytes
from sprat.progress import Progress, Watch, silent
from sprat.record.history import append
from sprat.record.run import dump_run
from sprat.record.schema import (
    CandidateRecord,
    ChoiceRecord,
    DataRecord,
    FileRecord,
    LayerRecord,
    LogEntry,
    Run,
    SplitRecord,
)
from sprat.search.budget import FAST_BYTES, Goal, choose
from sprat.search.candidates import Bench, Trial, proposals
from sprat.search.rate import Curve, calibration_batches, smallest_under, walk, walk_fast
from sprat.search.repair import repair
from sprat.search.store import Store
from sprat.workflow.setting import Setting, is_fixed, open_setting, reading_record

_LIBRARIES = ("numpy", "onnx", "onnxruntime", "onnxslim", "brotli", "numba", "pillow")
#: The original is evaluated, cleaned and compressed before the search; the last look and the
#: report come after it. This much of the time budget is kept for the latter.
_LAST_SHARE = 0.15
#: The walk along the curve may take this much of it: the other methods get the rest.
_WALK_SHARE = 0.7
#: Estimated bytes may be wrong by this factor.
_CLOSE = 1.1


@dataclass
class Clock:
    """Seconds by stage, and the time budget."""

    minutes: float
    stop: Callable[[], bool]
    stages: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.stages[name] = round(self.stages.get(name, 0.0) + spent, 2)

    def expired(self, share: float = 1 - _LAST_SHARE) -> bool:
        """Say whether so much of the time is spent, or the user asked for an end."""
        spent = time.perf_counter() - self.started
        return self.stop() or spent > self.minutes * 60 * share


@dataclass(frozen=True)
class Budget:
    """What the search is asked for.

    Attributes:
        goal: ``small``: fewest br-11 bytes. ``fast``: least time within 1.7 times those.
        max_drop: Points that accuracy may fall.
        minutes: Time for the whole; the best point so far wins when it is over.
        preview: Also write the best model under so many br-11 bytes.
    """

    goal: Goal = "small"
    max_drop: float = 1.0
    minutes: float = 5.0
    preview: int | None = None

    def check(self) -> None:
        """Refuse values that make no sense.

        Raises:
            OptionError: A value is out of its range.
        """
        if not 0 <= self.max_drop <= 100:
            raise OptionError(
                f"must be 0 to 100 points, got {self.max_drop:g}.", where="--max-drop"
            )
        if not self.minutes > 0:
            raise OptionError(f"must be above 0, got {self.minutes:g}.", where="--minutes")
        if self.preview is not None and self.preview <= 0:
            raise OptionError(f"must be above 0 bytes, got {self.preview}.", where="--preview")


def optimize(
    model: Path,
    data: str | Path,
    out: Path,
    *,
    budget: Budget | None = None,
    options: DataOptions | None = None,
    seed: int = 0,
    limit: int | None = None,
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
        progress: Told how far the work is.
        stop: Asked between steps; True ends the search with the best point so far.

    Returns:
        The record of the run. ``choice.candidate`` is ``original`` where nothing smaller holds
        the budget.

    Raises:
        InputError: The model, the data or an option is wrong.
        OutputError: The results cannot be written.
    """
    wanted = budget or Budget()
    wanted.check()
    if out.exists() and not out.is_dir():
        raise OutputError("is a file.", where=str(out), hint="Give a folder.")
    clock = Clock(wanted.minutes, stop)
    with clock.stage("read and run the original"):
        setting = open_setting(model, data, options, limit=limit, progress=progress)
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
        progress=Watch(progress),
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
    return _write(
        out,
        setting,
        _Findings(
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
        ),
        clock,
        progress,
    )


def _preview(curve: Curve, limit: int, clock: Clock) -> Trial | None:
    """Find the preview; one that cannot be had is no reason to lose the search's result."""
    try:
        return smallest_under(curve, limit, lambda: clock.expired(1.0))
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


def _search(bench: Bench, curve: Curve, budget: Budget, clock: Clock) -> list[Trial]:
    # The curve comes first: where time runs out, the others are missed least.
    with clock.stage("walk along the rate-distortion curve"):
        trials = walk(curve, budget.max_drop, lambda: clock.expired(_WALK_SHARE))
        if budget.goal == "fast":
            trials += walk_fast(curve, trials, clock.expired)
    for name, config in proposals(bench.clean):
        with clock.stage(f"try {name}"), bench.progress.until(clock.expired):
            trials.append(bench.propose(name, config))
    with clock.stage("repair"):
        for name, config in proposals(bench.clean):
            trial = next((t for t in trials if t.record.name == name), None)
            if trial is not None and not clock.expired() and _worth_repair(trial, trials, budget):
                trials.extend(repair(bench, name, config, clock.expired))
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
        lambda: setting.on(final, "test", progress).evaluate(model, progress),
    )


@dataclass(frozen=True)
class _Findings:
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


def _write(out: Path, setting: Setting, found: _Findings, clock: Clock, progress: Progress) -> Run:
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


def _record(setting: Setting, found: _Findings, clock: Clock, out: Path, content: bytes) -> Run:
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
        versions=_versions(),
        machine=_machine(),
        command=_command(out, setting, found),
        seed=found.seed,
        options={
            "goal": found.budget.goal,
            "max_drop": found.budget.max_drop,
            "minutes": found.budget.minutes,
            "preview": found.budget.preview,
            "limit": found.limit,
        },
        model=FileRecord(
            path=setting.path.name, sha256=sha256_file(setting.path), wire=found.before
        ),
        outputs=tuple(outputs),
        data=_data(setting),
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


def _layers(found: _Findings) -> tuple[LayerRecord, ...]:
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


def _log(setting: Setting, found: _Findings, validation: Evaluation) -> tuple[LogEntry, ...]:
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


def _data(setting: Setting) -> DataRecord:
    data = setting.data
    roles: list[tuple[str, Dataset | None, str]] = [
        ("train", data.train, "calibration"),
        ("val", data.val, "choice" if data.train else "calibration and choice"),
        ("test", data.test, "the one last look"),
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


def _basis(setting: Setting, seed: int) -> dict[str, object]:
    return {
        "sprat": __version__,
        "versions": _versions(),
        "model": sha256_file(setting.path),
        "calibration": setting.data.calibration.digest,
        "choice": setting.data.choice.digest,
        "reading": repr(setting.reference.reading),
        "metric": setting.options.metric,
        "seed": seed,
    }


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}


def _machine() -> str:
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def _command(out: Path, setting: Setting, found: _Findings) -> str:
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
