"""One search by one process on one core, and by two single-core nodes: the same bytes, sooner.

Usage:
    pip install -e '.[scale]'
    python -m benchmarks.scale MODEL --data DATA [--limit 256]

Writes ``benchmarks/results/scale.md``: the example's row, and MODEL's where one is given. Each
search has all the time that it wants. Processes are pinned: one core for one process, two
for two nodes with the scheduler, so that no thread helps unseen. Takes two cores and nothing beside
it; minutes for the example, half an hour and more for a ResNet-18 with all its samples.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.measure import machine
from sprat.files import sha256_file

RESULTS = Path(__file__).parent / "results" / "scale.md"
_EXAMPLE = Path(__file__).parents[1] / "examples/doodles"
_MINUTES = 600
#: Stages that are said apart, by what their names begin with; the rest is one figure.
_STAGES = ("read and run", "walk along", "try ", "look at test")


@dataclass(frozen=True)
class Took:
    """One search.

    Attributes:
        seconds: Of the whole command, its start and that of the nodes included.
        stages: Seconds of the main process by stage.
        sha256: Of the model.
        candidates: Name and hash of each candidate.
    """

    seconds: float
    stages: dict[str, float]
    sha256: str
    candidates: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True)
class Row:
    """One model, searched by one process and by two nodes."""

    name: str
    limit: int | None
    one: Took
    two: Took


def searched(model: Path, data: Path, limit: int | None, parties: int) -> Took:
    cores = sorted(os.sched_getaffinity(0))[:parties]
    if len(cores) < parties:
        sys.exit(f"needs {parties} cores")
    words = [sys.executable, "-m", "sprat", "optimize", str(model), "--data", str(data)]
    words += ["--goal", "small", "--minutes", str(_MINUTES), "--json"]
    words += ["--limit", str(limit)] if limit else []
    words += ["--workers", f"local:{parties}"] if parties > 1 else []
    free = {"SPRAT_THREADS": str(parties), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        start = time.perf_counter()
        done = subprocess.run(
            [*words, "--out", folder],
            env={**os.environ, **free},
            stdout=subprocess.PIPE,
            check=False,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        seconds = time.perf_counter() - start
        if done.returncode not in (0, 1):
            sys.exit(f"exit code {done.returncode}")
        run = json.loads(done.stdout)
        found = tuple((c["name"], c["sha256"]) for c in run["candidates"])
        return Took(seconds, run["timings"], sha256_file(Path(folder) / "model.onnx"), found)


def row(name: str, model: Path, data: Path, limit: int | None) -> Row:
    one, two = (searched(model, data, limit, parties) for parties in (1, 2))
    print(f"{name}: {one.seconds:.0f} s, {two.seconds:.0f} s", flush=True)
    if one.candidates != two.candidates or one.sha256 != two.sha256:
        sys.exit(f"{name}: two nodes gave other bytes than one process")
    return Row(name, limit, one, two)


def stages(took: Took) -> list[float]:
    found = [sum(s for k, s in took.stages.items() if k.startswith(stage)) for stage in _STAGES]
    return [*found, took.seconds - sum(found)]


def markdown(rows: list[Row]) -> str:
    date = datetime.now(UTC).date().isoformat()
    lines = [
        "# Two single-core nodes against one",
        "",
        f"`python -m benchmarks.scale`, {date}. {machine()}, distributed {version('distributed')}.",
        "`sprat optimize --goal small` without a limit of time; one process pinned to one core, "
        "then `--workers local:2` pinned to two. Seconds of the whole command, the start of the "
        "nodes included. The model and every candidate have the same SHA-256 in both.",
        "",
        "| | samples a split, at most | one, s | two, s | ratio | candidates | model's SHA-256 |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    lines += [
        f"| {r.name} | {r.limit or 'all'} | {r.one.seconds:.0f} | {r.two.seconds:.0f} "
        f"| {r.one.seconds / r.two.seconds:.2f} | {len(r.one.candidates)} | {r.one.sha256[:16]} |"
        for r in rows
    ]
    lines += ["", "Seconds of the main process, one and two:", ""]
    lines += [
        "| | read and run | walk | candidates | last look | start, clean, compress, report |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for r in rows:
        pairs = zip(stages(r.one), stages(r.two), strict=True)
        cells = " | ".join(f"{a:.0f}, {b:.0f}" for a, b in pairs)
        lines.append(f"| {r.name} | {cells} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--limit", type=int, help="samples of each split of MODEL, at most")
    options = parser.parse_args()
    rows = [row("doodles", _EXAMPLE / "doodles.onnx", _EXAMPLE / "data", None)]
    if options.model is not None:
        rows.append(row(options.model.stem, options.model, options.data, options.limit))
    RESULTS.write_text(markdown(rows), encoding="utf-8")
    print(RESULTS.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
