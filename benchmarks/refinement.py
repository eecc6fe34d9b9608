r"""What refinement by gradients brings at the same bytes, and what it costs in minutes.

Usage:
    pip install -e '.[distill]'
    pip install --no-deps --target MODELS rapidocr-onnxruntime==1.4.4
    python -m benchmarks.refinement --minutes 10 --site MODELS --fish MODEL DATA

Two networks, several prices of a bit each: the point that rounding gives, and the same point
refined on the same calibration samples for so many minutes, without labels. Judged on ``val``, by
which nothing is chosen. Rows that ``benchmarks/results/refinement.json`` has are not made again,
so that a killed run goes on; ``--only direction`` or ``fish`` makes one network's. Writes
``benchmarks/results/refinement.md``, ``.json`` and ``.svg``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.curves import curves
from benchmarks.measure import machine
from benchmarks.rd_curve import Ground, open_ground
from benchmarks.third_party import find_model, make_direction
from sprat.model.wire import brotli_bytes
from sprat.parallel import cores
from sprat.quantization.rate_distortion import Form, Point, pack
from sprat.refinement.config import Refine
from sprat.refinement.refine import refine
from sprat.search.rate import smallest_form

RESULTS = Path(__file__).parent / "results"
PLAIN, REFINED = "rounded", "refined"
#: Prices of a bit, as multiples of the usual one: about a half to four times the bits that
#: ``optimize`` ends with on fish; three bits a weight and below on the compact network.
SPREAD = {"direction": (0.1, 0.25, 0.5, 1.0, 2.0), "fish": (0.05, 0.25, 1.0, 2.2, 4.0)}


@dataclass(frozen=True)
class Row:
    """One point.

    Attributes:
        model: Short name.
        share: The price of a bit over the usual one.
        way: ``rounded`` or ``refined``.
        bits: Order-0 entropy of a weight.
        bytes: br-11 of the file, in the form that suits the rounded point.
        divergence: On val.
        drop: In points on val, and its paired 95 % interval.
        low: Of the interval.
        high: Of the interval.
        samples: Of val.
        held: Divergence on the held-out calibration samples; 0 where nothing was refined.
        steps: That were taken.
        best: After how many the best was found.
        minutes: Of the refinement.
    """

    model: str
    share: float
    way: str
    bits: float
    bytes: int
    divergence: float
    drop: float
    low: float
    high: float
    samples: int
    held: float = 0.0
    steps: int = 0
    best: int = 0
    minutes: float = 0.0


def judged(name: str, share: float, way: str, ground: Ground, point: Point, form: Form) -> Row:
    packed = pack(ground.model, point, form)
    found = ground.reference.evaluate(packed)
    weights = sum(values.size for values in point.integers.values())
    return Row(
        name,
        share,
        way,
        point.bits / weights,
        brotli_bytes(packed.SerializeToString(deterministic=True)),
        found.error.divergence,
        found.drop,
        found.interval.low,
        found.interval.high,
        found.samples,
    )


def pair(name: str, share: float, ground: Ground, point: Point, config: Refine) -> list[Row]:
    """Return a point's row and that of the same refined."""
    form = smallest_form(ground.model, point)
    plain = judged(name, share, PLAIN, ground, point, form)
    found = refine(ground.model, point, ground.samples, ground.reference.reading, config, form=form)
    row = asdict(judged(name, share, REFINED, ground, found.point, form))
    spent = {"steps": found.steps, "best": found.best, "minutes": found.minutes}
    rows = [plain, Row(**{**row, **spent, "held": found.after})]
    print(*rows, sep="\n", flush=True)
    return rows


def made(
    name: str, model: Path, data: Path, config: Refine, known: Sequence[Row], prices: list[float]
) -> None:
    """Make a network's rows that are not known yet, and write all after each pair."""
    rows = list(known)
    done = {row.share for row in rows if row.model == name}
    left = [share for share in prices or SPREAD[name] if share not in done]
    if not left:
        return
    ground = open_ground(model, data)
    prepared = ground.prepare()
    for share in left:
        rows += pair(name, share, ground, prepared.quantize(ground.rate * share), config)
        write(rows)


def write(rows: Sequence[Row]) -> None:
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps([asdict(row) for row in rows], indent=1)
    (RESULTS / "refinement.json").write_text(f"{text}\n")
    (RESULTS / "refinement.md").write_text(markdown(rows))
    (RESULTS / "refinement.svg").write_text(curves([asdict(row) for row in rows], "way", ""))


def read() -> list[Row]:
    path = RESULTS / "refinement.json"
    return [Row(**row) for row in json.loads(path.read_text())] if path.is_file() else []


def markdown(rows: Sequence[Row]) -> str:
    lines = [
        "# Refinement by gradients",
        "",
        f"`python -m benchmarks.refinement`, {datetime.now(UTC).date().isoformat()}. {machine()}, "
        f"torch {version('torch')}, {cores()} thread(s).",
        "",
        "Each price of a bit twice: as rate-distortion rounding gives it, and refined on the same "
        "unlabelled calibration samples. Bytes are br-11 of the file, in the form (int8 or packed "
        "INT4) that suits the rounded point; all else on val.",
        "",
        "![Bytes against divergence](refinement.svg)",
    ]
    for model in dict.fromkeys(row.model for row in rows):
        own = sorted((r for r in rows if r.model == model), key=lambda r: (r.share, r.way != PLAIN))
        lines += [
            "",
            f"## {model}, {own[0].samples} val samples",
            "",
            "| price | way | bits a weight | br-11 | divergence | drop, points (95 %) | minutes | "
            "best of steps |",
            "|---:|---|---:|---:|---:|---|---:|---:|",
            *(
                f"| {r.share:g} | {r.way} | {r.bits:.2f} | {r.bytes:,} | {r.divergence:.2g} "
                f"| {r.drop:+.2f} ({r.low:+.2f} to {r.high:+.2f}) "
                + ("| | |" if r.way == PLAIN else f"| {r.minutes:.1f} | {r.best} of {r.steps} |")
                for r in own
            ),
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.refinement",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--site", type=Path, help="where pip install --target put the wheel")
    parser.add_argument("--fish", nargs=2, type=Path, metavar=("MODEL", "DATA"))
    parser.add_argument("--minutes", type=float, default=10.0, help="of each refinement")
    parser.add_argument("--steps", type=int, help="exactly so many instead")
    parser.add_argument("--only", choices=tuple(SPREAD))
    parser.add_argument("--prices", nargs="*", type=float, help="some only")
    options = parser.parse_args()
    config = Refine(minutes=options.minutes, steps=options.steps)
    prices = options.prices or []
    if options.only != "fish":
        with tempfile.TemporaryDirectory(prefix="refinement-") as place:
            model = find_model("direction", options.site)
            data = make_direction(Path(place) / "direction")
            made("direction", model, data, config, read(), prices)
    if options.fish and options.only != "direction":
        model, data = options.fish
        made("fish", model, data, config, read(), prices)
    print((RESULTS / "refinement.md").read_text())


if __name__ == "__main__":
    main()
