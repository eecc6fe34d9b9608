"""Sprat against onnxruntime and onnx-shrink-ray on a 44.7 MB ResNet-18, all in one run.

Usage:
    pip install -e '.[bench]'
    python -m benchmarks.fish --model fish_doodle_classifier.onnx --data DOODLES

Writes ``benchmarks/results/fish.md`` and ``fish.json``. About 15 minutes on 2 cores. The test split
is read by the last comparison alone; nothing is chosen by it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.measure import Cost, machine, run
from benchmarks.peers import METHODS
from sprat.files import sha256_file
from sprat.workflow.compare import compare

RESULTS = Path(__file__).parent / "results"


def peers(model: Path, data: Path, folder: Path) -> dict[str, tuple[Path, Cost]]:
    made = {}
    for name in METHODS:
        out = folder / f"{name.replace(' ', '-')}.onnx"
        command = [sys.executable, "-m", "benchmarks.peers", name, str(model), str(data), str(out)]
        made[name] = (out, run(command, out))
        print(f"{name}: {made[name][1]}", flush=True)
    return made


def ours(model: Path, data: Path, folder: Path, minutes: float) -> dict[str, tuple[Path, Cost]]:
    made = {}
    for goal in ("small", "fast"):
        out = folder / f"sprat-{goal}"
        command = [sys.executable, "-m", "sprat", "optimize", str(model), "--data", str(data)]
        written = out / "model.onnx"
        options = ("--out", str(out), "--goal", goal, "--minutes", str(minutes))
        cost = run([*command, *options], written)
        made[f"Sprat, --goal {goal}"] = (written, cost)
        print(f"sprat {goal}: {cost}", flush=True)
    return made


def row(name: str, path: Path, cost: Cost, model: Path, data: Path) -> dict[str, Any]:
    found = compare(model, path, data, split="test")
    e, speed, wire = found.evaluation, found.speed, found.model_wire
    print(f"{name}: {wire.brotli:,} bytes, drop {e.drop:+.2f}", flush=True)
    return {
        "name": name,
        "sha256": sha256_file(path),
        "raw": wire.raw,
        "brotli": wire.brotli,
        "accuracy": e.model,
        "reference": e.reference,
        "samples": e.samples,
        "drop": e.drop,
        "low": e.interval.low,
        "high": e.interval.high,
        "agreement": e.agreement,
        "ratio": speed.ratio,
        "ratio_low": speed.interval.low,
        "ratio_high": speed.interval.high,
        "seconds": cost.seconds,
        "megabytes": cost.megabytes,
    }


def markdown(rows: list[dict[str, Any]], about: str, date: str) -> str:
    lines = [
        "# Fish: a 44.7 MB ResNet-18 and its doodles",
        "",
        f"`python -m benchmarks.fish`, {date}. {about}.",
        f"Accuracy on {rows[0]['samples']:,} test doodles (float32: {rows[0]['reference']:.2%}); "
        "time is the ratio to float32, one thread, alternated in one process (first to ninth "
        "decile).",
        "",
        "| | br-11 bytes | file bytes | accuracy | drop, points (95 %) | agreement | time ratio "
        "| made in | peak memory |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r['name']} | {r['brotli']:,} | {r['raw']:,} | {r['accuracy']:.2%} "
        f"| {r['drop']:+.2f} ({r['low']:+.2f} to {r['high']:+.2f}) | {r['agreement']:.2%} "
        f"| {r['ratio']:.2f} ({r['ratio_low']:.2f} to {r['ratio_high']:.2f}) "
        f"| {r['seconds']:.0f} s | {r['megabytes']:,.0f} MB |"
        for r in sorted(rows, key=lambda r: -r["brotli"])
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=5.0, help="for each run of Sprat")
    parser.add_argument("--keep", type=Path, help="an empty folder where the models stay")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fish-") as place:
        folder = options.keep or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        made = {
            **peers(options.model, options.data, folder),
            **ours(options.model, options.data, folder, options.minutes),
        }
        rows = [
            row(name, path, cost, options.model, options.data)
            for name, (path, cost) in made.items()
        ]
    RESULTS.mkdir(exist_ok=True)
    date = datetime.now(UTC).date().isoformat()
    (RESULTS / "fish.json").write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2))
    (RESULTS / "fish.md").write_text(markdown(rows, machine(), date))
    print((RESULTS / "fish.md").read_text())


if __name__ == "__main__":
    main()
