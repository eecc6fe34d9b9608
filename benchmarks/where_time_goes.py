"""Where the time of ``sprat optimize`` goes, by what it says it is doing.

Usage:
    python -m benchmarks.where_time_goes MODEL --data DATA

Prints a table: seconds between two signs of progress count for the stage of the later one; then all
candidates.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from sprat.workflow.budget import Budget
from sprat.workflow.optimize import optimize


class Timer:
    """Adds up seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._last = time.perf_counter()

    def __call__(self, stage: str, done: float, total: float) -> None:  # noqa: ARG002
        """Hear of progress; names of candidates are left out of the stage's."""
        now = time.perf_counter()
        kind = "trying a candidate: its bytes and its speed" if "trying" in stage else stage
        self.seconds[kind] += now - self._last
        self._last = now


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.where_time_goes", description=__doc__
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=5.0)
    options = parser.parse_args()
    timer = Timer()
    with tempfile.TemporaryDirectory(prefix="time-") as place:
        out, budget = Path(place) / "out", Budget(minutes=options.minutes)
        run = optimize(options.model, options.data, out, budget=budget, progress=timer)
    total = sum(timer.seconds.values())
    print("| stage | seconds | share |\n|---|---:|---:|")
    for stage, seconds in sorted(timer.seconds.items(), key=lambda pair: -pair[1]):
        print(f"| {stage} | {seconds:.1f} | {seconds / total:.0%} |")
    print("\n| candidate | br-11 | drop | divergence | outcome | seconds |")
    print("|---|---:|---:|---:|---|---:|")
    for c in run.candidates:
        size = f"{c.wire.brotli:,}" if c.wire else ""
        found = c.evaluation
        told = f"{found.drop:+.2f} | {found.error.divergence:.3g}" if found else "|"
        print(f"| {c.name} | {size} | {told} | {c.outcome} | {c.seconds:.1f} |")


if __name__ == "__main__":
    main()
