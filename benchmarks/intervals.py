r"""Audit of the intervals: how often they cover, and how far a choice on val flatters test.

Usage:
    sprat optimize MODEL --data DATA --out SMALL
    python -m benchmarks.intervals --model MODEL --data DATA --small SMALL --work WORK

Answers of the original, of ``SMALL``'s model and of points around it on the rate-distortion curve
are kept in ``WORK``; all else is random splits of them. Nothing is chosen by what is found here.
Writes ``benchmarks/results/intervals.md``. About 6 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from benchmarks.measure import machine
from sprat.evaluate.evaluate import Reference, score
from sprat.evaluate.interval import paired_interval
from sprat.evaluate.predict import predict_all
from sprat.evaluate.reading import MeanDivergence, answers, divergence, same
from sprat.evaluate.types import Evaluation, OutputDistance
from sprat.files import write_atomic
from sprat.graph.simplify import simplify
from sprat.model.inspect import fixed_batch
from sprat.model.load import load
from sprat.model.nodes import name_nodes
from sprat.model.wire import brotli_bytes
from sprat.quantization.rate_distortion import pack, prepare
from sprat.record.run import load_run
from sprat.search.budget import cautious_drop
from sprat.search.demand import demand
from sprat.search.rate import calibration_batches
from sprat.workflow.setting import Setting, open_setting

RESULTS = Path(__file__).parent / "results"
#: Random splits: as many as one would make by hand, and so many that their own luck is small.
SPLITS = (200, 4000)
BUDGET = 1.0
#: Samples that the ladder's points are calibrated on.
SAMPLES = 256
#: Factors on the chosen point's price of a bit: candidates finer and coarser than it.
LADDER = tuple(2 ** (k / 2) for k in range(-3, 5))
Scores = NDArray[np.float64]
#: Says how large a budget a point needs, of all points that were measured.
Rule = Callable[[Evaluation, Sequence[Evaluation]], float]
#: By which points of the curve are chosen, and candidates off it.
RULES: dict[str, Rule] = {
    "the walk's rule": demand,
    "the measured drop and half a standard error": lambda e, _seen: cautious_drop(e),
}


@dataclass(frozen=True)
class Rung:
    """A point of the ladder, and what it said on each sample.

    Attributes:
        size: br-11 bytes.
        scores: 1 or 0: right or wrong, float64 ``[N]``.
        same: 1 or 0: the original's answer or another one, float64 ``[N]``.
        divergence: From the original's output, nats, float64 ``[N]``.
    """

    size: int
    scores: Scores
    same: Scores
    divergence: Scores


@dataclass(frozen=True)
class Coverage:
    """Shares of the splits in which an interval covers, 0 to 1.

    Attributes:
        other_half: The interval of one half covers the other half's difference.
        widened: The same with the interval made wider by the square root of 2.
        population: All samples taken as the population and as many drawn from it as half, with
            replacement: the interval of those drawn covers the population's difference.
    """

    other_half: float
    widened: float
    population: float


@dataclass(frozen=True)
class Selection:
    """A choice of fewest bytes within the budget on one half, looked at on the other.

    Attributes:
        flattery: Mean over the splits of the drop on the other half minus that on the half that
            chose, points.
        error: Its standard error if splits were independent, points.
        other: Mean drop of the choices on the other half, points.
        nothing: Share of the splits in which nothing held the budget.
        chosen: How often each candidate was chosen, by its br-11 bytes.
    """

    flattery: float
    error: float
    other: float
    nothing: float
    chosen: dict[int, int]


def coverage(original: Scores, small: Scores, splits: int) -> Coverage:
    """Split and draw, and count."""
    random = np.random.default_rng(0)
    covered = np.zeros((splits, 3))
    count, all_of_it = len(original), difference(original, small)
    for i in range(splits):
        order = random.permutation(count)
        first, second = order[: count // 2], order[count // 2 :]
        found = paired_interval(original[first], small[first])
        other = difference(original[second], small[second])
        middle, half = (found.low + found.high) / 2, (found.high - found.low) / 2
        drawn = random.integers(0, count, count // 2)
        again = paired_interval(original[drawn], small[drawn])
        covered[i] = (
            found.low <= other <= found.high,
            abs(other - middle) <= math.sqrt(2) * half,
            again.low <= all_of_it <= again.high,
        )
    return Coverage(*covered.mean(axis=0).tolist())


def selection(original: Scores, ladder: Sequence[Rung], splits: int, rule: Rule) -> Selection:
    """Choose on one half by a rule of ``optimize``, and look at the other."""
    random = np.random.default_rng(0)
    gaps, drops, chosen = [], [], {rung.size: 0 for rung in ladder}
    for _ in range(splits):
        order = random.permutation(len(original))
        first, second = order[: len(order) // 2], order[len(order) // 2 :]
        seen = [evaluated(original[first], rung, first) for rung in ladder]
        held = [r for r, e in zip(ladder, seen, strict=True) if rule(e, seen) <= BUDGET]
        if not held:
            continue
        best = min(held, key=lambda rung: rung.size)
        chosen[best.size] += 1
        drops.append(difference(original[second], best.scores[second]))
        gaps.append(drops[-1] - difference(original[first], best.scores[first]))
    return Selection(
        float(np.mean(gaps)),
        float(np.std(gaps, ddof=1) / math.sqrt(len(gaps))),
        float(np.mean(drops)),
        1 - len(gaps) / splits,
        chosen,
    )


def difference(original: Scores, model: Scores) -> float:
    """Return the drop in points."""
    return float(100 * (original - model).mean())


def evaluated(original: Scores, rung: Rung, rows: NDArray[np.int64]) -> Evaluation:
    """Return what an evaluation on some of the samples says of a point."""
    model = rung.scores[rows]
    return Evaluation(
        split="half",
        samples=len(rows),
        metric="accuracy",
        reference=float(original.mean()),
        model=float(model.mean()),
        drop=difference(original, model),
        interval=paired_interval(original, model),
        agreement=float(rung.same[rows].mean()),
        error=OutputDistance(0.0, 0.0, 0.0, float(rung.divergence[rows].mean())),
    )


def of_small(setting: Setting, small: Path, work: Path) -> Scores:
    """Return the scores on test of the model that optimize chose."""
    kept = work / "small.npz"
    if not kept.is_file():
        np.savez(kept, scores=measured(setting.reference, load(small / "model.onnx"), 0).scores)
    return np.asarray(np.load(kept)["scores"])


def of_ladder(setting: Setting, small: Path, work: Path) -> list[Rung]:
    """Return what the ladder's points said on test; those in ``work`` are kept."""
    run = load_run(small / "run.json")
    chosen = next(c for c in run.candidates if c.name == run.choice.candidate)
    rate = float(str(chosen.options["rate"]))
    places = {factor: work / f"rung-{factor:.3f}.npz" for factor in LADDER}
    missing = [factor for factor, place in places.items() if not place.is_file()]
    if missing:
        reference = setting.reference
        clean = name_nodes(simplify(setting.model, setting.calibration()[:2]).model)
        batches = calibration_batches(
            setting.data.calibration,
            reference.size,
            fixed=fixed_batch(setting.model) is not None,
            count=SAMPLES,
        )
        prepared = prepare(clean, batches, MeanDivergence(reference.reading))
        for factor in missing:
            model = pack(clean, prepared.quantize(rate * factor), "int4")
            size = brotli_bytes(model.SerializeToString(deterministic=True))
            rung = measured(reference, model, size)
            np.savez(places[factor], **asdict(rung))
            print(f"{factor:.2f} times the price of a bit: {size:,} bytes", flush=True)
    found = [np.load(place) for place in places.values()]
    return [Rung(int(f["size"]), f["scores"], f["same"], f["divergence"]) for f in found]


def measured(reference: Reference, model: onnx.ModelProto, size: int) -> Rung:
    """Return what a model says on each sample."""
    reading = reference.reading
    outputs = predict_all(model, reference.dataset, reference.size)
    said, name = answers(outputs, reading), reading.output
    return Rung(
        size,
        score(said, reference.answers, outputs, reference),
        same(said, reference.answers, reading),
        divergence(reference.outputs[name], outputs[name], reading),
    )


def row(name: str, *values: str) -> str:
    """Write a table's row."""
    return f"| {name} | {' | '.join(values)} |"


def choices(rule: str, picked: Sequence[Selection]) -> list[str]:
    """Write what one rule chose."""
    return [
        row(
            f"the fewest bytes within 1 point on one half, by {rule}",
            *(f"{count:,} splits" for count in SPLITS),
        ),
        "|---|---:|---:|",
        row(
            "drop on the other half minus drop on the half that chose, points",
            *(f"{p.flattery:+.2f} ± {1.96 * p.error:.2f}" for p in picked),
        ),
        row("drop on the other half, points", *(f"{p.other:+.2f}" for p in picked)),
        row("nothing held the budget", *(f"{p.nothing:.1%}" for p in picked)),
        *(
            row(f"chosen: {size:,} bytes", *(f"{p.chosen[size]:,}" for p in picked))
            for size in picked[0].chosen
        ),
        "",
    ]


def page(
    covered: Sequence[Coverage],
    picked: Mapping[str, Sequence[Selection]],
    samples: int,
    own: tuple[float, float],
) -> str:
    """Write the figures as Markdown."""
    counts = [f"{count:,} splits" for count in SPLITS]
    lines = [
        "# Audit of the intervals",
        "",
        f"`python -m benchmarks.intervals`, {datetime.now(UTC).date().isoformat()}. {machine()}. "
        f"The fish model against the model that `optimize` chose, on {samples:,} test samples, "
        "halved at random.",
        "",
        row("what the 95 % interval of one half covers", *counts, "expected"),
        "|---|---:|---:|---:|",
        row("the other half's difference", *(f"{c.other_half:.1%}" for c in covered), "83.4 %"),
        row("the same, made √2 wider", *(f"{c.widened:.1%}" for c in covered), "95.0 %"),
        row(
            "the population's difference, where half as many are drawn from it with replacement",
            *(f"{c.population:.1%}" for c in covered),
            "95.0 %",
        ),
        "",
        *(line for rule, found in picked.items() for line in choices(rule, found)),
        f"The run itself: drop {own[0]:+.2f} points on val, which chose, {own[1]:+.2f} on test.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--small", type=Path, required=True, help="what optimize wrote")
    parser.add_argument("--work", type=Path, required=True, help="answers are kept here")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    setting = open_setting(options.model, options.data, split="test")
    original = setting.reference.scores
    small = of_small(setting, options.small, options.work)
    ladder = of_ladder(setting, options.small, options.work)
    covered = [coverage(original, small, splits) for splits in SPLITS]
    picked = {
        name: [selection(original, ladder, splits, rule) for splits in SPLITS]
        for name, rule in RULES.items()
    }
    choice = load_run(options.small / "run.json").choice
    assert choice.test is not None
    own = (choice.validation.drop, choice.test.drop)
    write_atomic(RESULTS / "intervals.md", page(covered, picked, len(original), own))


if __name__ == "__main__":
    main()
