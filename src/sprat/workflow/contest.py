"""All that is tried on the lines of a search, and which of it is best."""

from __future__ import annotations

from sprat.errors import NoGainError, OptionError
from sprat.model.wire import WireBytes
from sprat.record.schema import CandidateRecord
from sprat.search.budget import FAST_BYTES, Goal
from sprat.search.candidates import FLOAT, SURE, Trial, proposals
from sprat.search.rate import smallest_under, walk, walk_fast
from sprat.search.repair import repair
from sprat.spread import Ahead
from sprat.workflow.budget import Budget, Clock
from sprat.workflow.line import Line, line_of
from sprat.workflow.setting import Setting

#: The walks along the curves may take this much of the search's time. The integer graph that
#: ``fast`` is after and a preview need points of their own behind them.
_WALK_SHARE: dict[Goal, float] = {"small": 0.8, "fast": 0.6}
_WALK_SHARE_BEFORE_PREVIEW = 0.6
#: What other methods may use: they seldom win, and what comes behind them takes its time.
_OTHERS_SHARE = 0.9
#: Estimated bytes may be wrong by this factor.
_CLOSE = 1.1


def walks(lines: tuple[Line, ...], budget: Budget, clock: Clock) -> list[Trial]:
    """Walk along the curve of each line.

    The curves come first: where time runs out, the other methods are missed least. Of the curves
    the last: a student is small, and what it leaves of its time is the original's.

    Args:
        lines: What is made small; at least one.
        budget: What is asked for.
        clock: Tells when time is up.

    Returns:
        The trials of all lines, with a student as it is.
    """
    trials: list[Trial] = []
    for i, line in enumerate(reversed(lines)):
        with clock.stage(_stage("walk along the rate-distortion curve", line)):
            trials += _along(line, budget, clock, (i + 1) / len(lines))
    for line in lines:
        if line.source == "student":
            with clock.stage(_stage("measure", line)):
                trials.append(line.bench.as_it_is(line.note))
    return trials


def _along(line: Line, budget: Budget, clock: Clock, part: float) -> list[Trial]:
    """Walk along a curve within a part of the time that all curves have."""
    curve, share = line.curve, _WALK_SHARE[budget.goal]
    if budget.preview is not None:
        share = min(share, _WALK_SHARE_BEFORE_PREVIEW)

    def walked() -> bool:
        # The first point is what the whole is for: it is made even where time is short.
        return clock.stop() or (bool(curve.trials) and clock.expired(share * part))

    trials = walk(curve, budget.max_drop, walked)
    if budget.goal == "fast":
        trials += walk_fast(curve, trials, lambda: clock.expired(part))
    return trials


def others(
    line: Line,
    begun: Ahead[str, tuple[str, bytes]],
    walked: list[Trial],
    budget: Budget,
    clock: Clock,
) -> list[Trial]:
    """Try each other method on a line, and repair what could still win.

    Args:
        line: What is made small.
        begun: What others who take part have begun of it.
        walked: What :func:`walks` found.
        budget: What is asked for.
        clock: Tells when time is up.

    Returns:
        The trials.
    """

    def late() -> bool:
        return clock.expired(_OTHERS_SHARE)

    bench = line.bench
    trials: list[Trial] = []
    for name, config in proposals(bench.clean):
        # A model for which time was too short shall not end with nothing.
        needed = name in SURE and not _fits([*walked, *trials])
        limit = clock.stop if needed else late
        made = bench.untried(name, config)
        with clock.stage(f"try {bench.named(name)}"), bench.progress.until(limit):
            bench.store.adopt(begun.take(name) or ())
            made = bench.propose(name, config)
        trials.append(made)
    with clock.stage("repair"):
        for name, config in proposals(bench.clean):
            trial = next((t for t in trials if t.record.name == bench.named(name)), None)
            if trial is None or late():
                continue
            if _worth_repair(trial, [*walked, *trials], budget):
                trials.extend(repair(bench, name, config, late))
    return trials


def _fits(trials: list[Trial]) -> list[Trial]:
    """Return the trials within the budget."""
    return [t for t in trials if t.record.outcome == "within budget" and t.record.wire is not None]


def _stage(name: str, line: Line) -> str:
    return name if line.source == "original" else f"{name} (student)"


def _worth_repair(trial: Trial, trials: list[Trial], budget: Budget) -> bool:
    """Repair only what could still win: giving precision back never makes a file smaller."""
    record = trial.record
    if record.outcome != "over budget" or record.wire is None:
        return False
    fit = [t.record for t in _fits(trials)]
    if budget.goal == "fast":
        ratios = [c.speed.ratio for c in fit if c.speed is not None]
        return record.speed is not None and record.speed.ratio < min(ratios, default=1.0)
    smallest = min((c.wire.brotli for c in fit if c.wire is not None), default=1 << 62)
    return record.wire.brotli < smallest


def compared_exactly(lines: tuple[Line, ...], trials: list[Trial]) -> list[Trial]:
    """Measure the bytes of all that an estimate cannot tell from the smallest."""
    sizes = [t.record.wire.brotli for t in _fits(trials) if t.record.wire is not None]
    limit = _CLOSE * FAST_BYTES * min(sizes, default=0)
    return [
        line_of(lines, t.record).bench.exactly(t)
        if t.record.wire is not None and t.record.wire.brotli <= limit
        else t
        for t in trials
    ]


def find_preview(lines: tuple[Line, ...], limit: int, clock: Clock) -> Trial:
    """Find the preview: of each curve the best point under so many bytes, of those the truest.

    One that cannot be had is no reason to lose the search's result.
    """
    found = [_under(line, limit, clock) for line in lines]
    return min(found, key=_divergence)


def _under(line: Line, limit: int, clock: Clock) -> Trial:
    try:
        return smallest_under(line.curve, limit, clock.expired)
    except (OptionError, NoGainError) as error:
        record = CandidateRecord(
            name="preview",
            method="rate-distortion",
            source=line.source,
            outcome="failed",
            note=str(error),
        )
        return Trial(record, None)


def _divergence(trial: Trial) -> float:
    evaluation = trial.record.evaluation
    return float("inf") if evaluation is None else evaluation.error.divergence


def chosen_trial(
    trials: list[Trial], record: CandidateRecord | None, setting: Setting, before: WireBytes
) -> Trial:
    """Return the choice with its model: the original where nothing was chosen."""
    if record is not None:
        found = next(t for t in trials if t.record.name == record.name)
        return Trial(found.record.model_copy(update={"outcome": "chosen"}), found.model)
    own = setting.reference.evaluate(setting.model)
    kept = CandidateRecord(
        name="original", method=FLOAT, outcome="chosen", wire=before, evaluation=own
    )
    return Trial(kept, setting.model)
