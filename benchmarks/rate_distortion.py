"""The rate-distortion curve of several models against every peer, in one run.

Usage:
    pip install -e '.[bench]'
    python -m venv nnc && nnc/bin/pip install nncodec==2.1.3 onnx "numpy<2"
    python -m benchmarks.rate_distortion --nncodec nnc/bin/python \
        --model fish MODEL DATA --model direction MODEL DATA …

Peers: onnxruntime dynamic and static, onnx-shrink-ray (``benchmarks.peers``), and NNCodec (ISO/IEC
15938-17, ``benchmarks/nncodec_peer.py``) at several quantization parameters. Everything is judged
on the choice split. Writes ``rate_distortion.json``, ``.md`` and ``.svg`` into ``results``;
models that are not named stay as they were measured.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import onnx

from benchmarks.curves import curves
from benchmarks.measure import machine, run
from benchmarks.peers import METHODS
from benchmarks.rd_curve import Ground, open_ground
from sprat.errors import SpratError
from sprat.model.wire import brotli_bytes

RESULTS = Path(__file__).parent / "results"
OURS = "Sprat"
NNCODEC = "NNCodec 2.1.3"
QPS = (-36, -32, -28, -24, -22, -20)
#: Prices of a bit, as multiples of the usual one.
SPREAD = (0.01, 0.04, 0.12, 0.3, 0.6, 1.0, 1.5, 2.2)
BUDGET = 1.0


@dataclass(frozen=True)
class Row:
    """One point.

    Attributes:
        model: Short name.
        method: The method, and its setting.
        family: The method alone.
        bytes: br-11 of the file; for NNCodec its bitstream, without the graph.
        divergence: Mean divergence from the original.
        drop: In points.
        agreement: Share of the same answers.
    """

    model: str
    method: str
    family: str
    bytes: int
    divergence: float
    drop: float
    agreement: float


def judged(name: str, method: str, family: str, ground: Ground, path: Path, size: int) -> Row:
    found = ground.reference.evaluate(onnx.load(path))
    row = Row(name, method, family, size, found.error.divergence, found.drop, found.agreement)
    print(row, flush=True)
    return row


def peers(name: str, model: Path, data: Path, ground: Ground, folder: Path) -> Iterator[Row]:
    for method in METHODS:
        out = folder / f"{method.replace(' ', '-')}.onnx"
        command = [sys.executable, "-m", "benchmarks.peers", method, str(model), str(data)]
        try:
            run([*command, str(out)], out)
        except RuntimeError as error:
            print(f"{method}: {str(error).splitlines()[-1]}", flush=True)
            continue
        try:
            yield judged(name, method, method, ground, out, brotli_bytes(out.read_bytes()))
        except SpratError as error:  # the peer wrote a file that does not load
            print(f"{method}: {error}", flush=True)


def nncodec(name: str, python: Path, ground: Ground, folder: Path) -> Iterator[Row]:
    clean, script = folder / "clean.onnx", Path(__file__).parent / "nncodec_peer.py"
    onnx.save(ground.model, clean)
    for qp in QPS:
        out = folder / f"nncodec{qp}.onnx"
        command = [str(python), str(script), str(clean), str(out), str(qp)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{NNCODEC} qp {qp}: {done.stderr.splitlines()[-1:]}", flush=True)
            continue
        size = json.loads(done.stdout.splitlines()[-1])["bytes"]
        yield judged(name, f"{NNCODEC}, qp {qp}", NNCODEC, ground, out, size)


def ours(name: str, ground: Ground) -> Iterator[Row]:
    start = time.perf_counter()
    prepared = ground.prepare()
    print(f"{name}: layers measured in {time.perf_counter() - start:.0f} s", flush=True)
    for share in SPREAD:
        point = ground.measure(prepared.quantize(ground.rate * share))
        size = min(point.int8, point.int4)
        method = f"{OURS}, {point.bits_per_weight:.2f} bits a weight"
        row = Row(name, method, OURS, size, point.divergence, point.drop, point.agreement)
        print(row, flush=True)
        yield row


def cheapest(rows: Sequence[Row], family: str) -> Row | None:
    """Return a family's smallest point within the budget, above which none is over it."""
    found = None
    for row in sorted((r for r in rows if r.family == family), key=lambda r: -r.bytes):
        if row.drop > BUDGET:
            break
        found = row
    return found


def summary(rows: Sequence[Row]) -> str:
    """Say how many times fewer bytes ours takes than NNCodec within the budget."""
    own, other = cheapest(rows, OURS), cheapest(rows, NNCODEC)
    if own is None or other is None:
        missing = OURS if own is None else NNCODEC
        return f"{missing} has no point within {BUDGET:g} point here."
    return (
        f"Within {BUDGET:g} point: {OURS} {own.bytes:,} bytes ({own.drop:+.2f}), {NNCODEC} "
        f"{other.bytes:,} ({other.drop:+.2f}): {other.bytes / own.bytes:.1f} times."
    )


@dataclass(frozen=True)
class Measured:
    """All points of one model, and when and where they were made."""

    when: str
    samples: int
    rows: list[Row]


def known() -> dict[str, Measured]:
    """Return what was measured before, by model."""
    path = RESULTS / "rate_distortion.json"
    found = json.loads(path.read_text()) if path.is_file() else {}
    return {
        name: Measured(one["when"], one["samples"], [Row(**row) for row in one["rows"]])
        for name, one in found.items()
    }


def markdown(found: dict[str, Measured]) -> str:
    lines = [
        "# Rate against distortion",
        "",
        "`python -m benchmarks.rate_distortion`. Bytes are br-11 of the file, of Sprat's two forms "
        "(int8, packed INT4) the smaller; for NNCodec its bitstream, without the "
        "graph. Everything on the choice split.",
        "",
        "![Bytes against divergence](rate_distortion.svg)",
    ]
    for model, measured in found.items():
        own = sorted(measured.rows, key=lambda r: -r.bytes)
        lines += [
            "",
            f"## {model}, {measured.samples} samples",
            "",
            measured.when,
            "",
            summary(own),
            "",
            "| method | bytes | divergence | drop, points | agreement |",
            "|---|---:|---:|---:|---:|",
            *(
                f"| {r.method} | {r.bytes:,} | {r.divergence:.2g} | {r.drop:+.2f} "
                f"| {r.agreement:.2%} |"
                for r in own
            ),
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rate_distortion",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", nargs=3, action="append", metavar=("NAME", "MODEL", "DATA"))
    parser.add_argument("--nncodec", type=Path, help="the other environment's interpreter")
    parser.add_argument("--limit", type=int, default=None, help="samples of each split")
    options = parser.parse_args()
    found = known()
    for name, model, data in options.model or ():
        ground = open_ground(Path(model), Path(data), options.limit)
        rows: list[Row] = []
        with tempfile.TemporaryDirectory(prefix="curve-") as place:
            rows += peers(name, Path(model), Path(data), ground, Path(place))
            if options.nncodec is not None:
                rows += nncodec(name, options.nncodec, ground, Path(place))
        rows += ours(name, ground)
        when = f"{datetime.now(UTC).date().isoformat()}. {machine()}."
        found[name] = Measured(when, len(ground.reference.dataset.samples), rows)
        RESULTS.mkdir(exist_ok=True)
        kept = {key: asdict(one) for key, one in found.items()}
        (RESULTS / "rate_distortion.json").write_text(json.dumps(kept, indent=1))
        (RESULTS / "rate_distortion.md").write_text(markdown(found))
        every = [row for one in found.values() for row in one.rows]
        shown = [asdict(r) | {"divergence": max(r.divergence, 1e-7)} for r in every]
        (RESULTS / "rate_distortion.svg").write_text(curves(shown, "family", "method"))
    print((RESULTS / "rate_distortion.md").read_text())


if __name__ == "__main__":
    main()
