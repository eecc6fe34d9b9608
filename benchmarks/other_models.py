"""The same road on three models that other people made: what was reached within one point.

Usage:
    pip install --no-deps --target MODELS rapidocr-onnxruntime==1.4.4 magika==1.0.3
    python -m benchmarks.other_models --site MODELS

Makes the data (see ``benchmarks.third_party``), runs ``sprat optimize`` on each model, and writes
``benchmarks/results/other_models.md``. About 6 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.measure import machine
from benchmarks.third_party import (
    find_model,
    make_direction,
    make_magika,
    make_recognizer,
)
from sprat.record.schema import Run
from sprat.workflow.budget import Budget
from sprat.workflow.optimize import optimize

RESULTS = Path(__file__).parent / "results"
MODELS = {
    "direction": ("PP-OCR text direction (rapidocr-onnxruntime 1.4.4)", make_direction),
    "recognizer": ("PP-OCRv4 text recognizer (rapidocr-onnxruntime 1.4.4)", make_recognizer),
    "magika": ("Magika standard_v3_3 (magika 1.0.3)", make_magika),
}


def row(name: str, run: Run) -> str:
    last = run.choice.test or run.choice.validation
    chosen = run.choice.candidate
    before, after = run.model.wire, run.outputs[0].wire
    if chosen == "original":
        chosen = "nothing better within the budget"
    ratio = f"{run.choice.speed.ratio:.2f}" if run.choice.speed else "1.00"
    return (
        f"| {name} | {before.brotli:,}{' (estimated)' if before.estimated else ''} "
        f"| {after.brotli:,} | {chosen} | {last.metric} {last.reference:.2%} → {last.model:.2%} "
        f"| {last.drop:+.2f} ({last.interval.low:+.2f} to {last.interval.high:+.2f}) "
        f"| {last.samples} {last.split} | {ratio} | {sum(run.timings.values()):.0f} s |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--site", type=Path, help="where pip install --target put the wheels")
    parser.add_argument("--minutes", type=float, default=5.0, help="for each model")
    options = parser.parse_args()
    lines = [
        "# Models that other people made",
        "",
        f"`python -m benchmarks.other_models`, {datetime.now(UTC).date().isoformat()}. "
        f"{machine()}. Budget: 1 point; native time is the ratio to float32, one thread.",
        "",
        "| model | br-11 before | br-11 after | chosen | | drop, points (95 %) | samples "
        "| native time | made in |",
        "|---|---:|---:|---|---|---:|---:|---:|---:|",
    ]
    with tempfile.TemporaryDirectory(prefix="models-") as place:
        for key, (name, make) in MODELS.items():
            data = make(Path(place) / key)
            out, budget = Path(place) / f"{key}-small", Budget(minutes=options.minutes)
            run = optimize(find_model(key, options.site), data, out, budget=budget)
            lines.append(row(name, run))
            print(lines[-1], flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "other_models.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
