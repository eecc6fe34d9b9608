"""Two independent points, or a full model that refines its preview's integers?

Usage:
    python -m benchmarks.preview_forms MODEL --data DATA

Rounds the model at two prices of a bit. Independent points cost the entropy of both. A full model
that is coded knowing its preview costs, beyond the preview, the conditional entropy of its integers
by layer: the most that embedding could save without making the full model worse. Writes bytes and
divergences to ``benchmarks/results/preview_forms.md``; about 2 minutes.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import machine
from benchmarks.rd_curve import Ground, open_ground
from sprat.quantization.rate_distortion.engine import Point

#: Prices over the usual one: about 300 kB and 150 kB on the fish model.
FULL, PREVIEW = 0.8, 5.0
OUT = Path(__file__).parent / "results" / "preview_forms.md"


def entropy(*columns: NDArray[np.int8]) -> float:
    """Return the bytes of the order-0 entropy of values, or of tuples of values."""
    joined = np.stack([c.astype(np.int64).ravel() + 128 for c in columns])
    code = joined[0] if len(joined) == 1 else joined[0] * 256 + joined[1]
    counts = np.bincount(code)
    shares = counts[counts > 0] / code.size
    return float(-(shares * np.log2(shares)).sum() * code.size / 8)


def table(ground: Ground, full: Point, preview: Point) -> str:
    names = list(full.integers)
    one = sum(entropy(preview.integers[name]) for name in names)
    two = sum(entropy(full.integers[name]) for name in names)
    both = sum(entropy(full.integers[name], preview.integers[name]) for name in names)
    far, near = ground.compare(preview).divergence, ground.compare(full).divergence
    return (
        "| form | preview | then the full model | in all | divergence of both |\n"
        "|---|---:|---:|---:|---:|\n"
        f"| two independent points | {one:,.0f} | {two:,.0f} | {one + two:,.0f} | "
        f"{far:.3g}, {near:.3g} |\n"
        f"| the same, the full one coded by its preview | {one:,.0f} | {both - one:,.0f} | "
        f"{both:,.0f} | the same |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.preview_forms", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    ground = open_ground(options.model, options.data)
    prepared = ground.prepare()
    full, preview = (prepared.quantize(ground.rate * share) for share in (FULL, PREVIEW))
    OUT.write_text(
        "# Two independent points, or an embedded preview\n\n"
        f"`python -m benchmarks.preview_forms`, {datetime.now(UTC):%Y-%m-%d}. {machine()}. "
        f"{options.model.name}; bytes are the order-0 entropy of the integers, divergences those "
        "from the original on val, preview first.\n\n"
        f"{table(ground, full, preview)}\n"
    )
    print(OUT.read_text())


if __name__ == "__main__":
    main()
