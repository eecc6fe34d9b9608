"""Take each ingredient of the rate-distortion method away, and price it in bytes.

Every variant gives its own curve of bytes (the integers' order-0 entropy, which br-11 reaches)
against the divergence from the original; its price is what it needs, at the divergences that the
whole method reaches, over what the whole method needs.

Run ``python -m benchmarks.rd_ablation MODEL --data DATA``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from unittest import mock

import numpy as np

from benchmarks.rd_curve import Compared, Ground, open_ground
from sprat.quantization.rate_distortion import Prepared, choice, measure
from sprat.quantization.rate_distortion.part import Part

#: Makes the rate term vanish against the error while the steps stay.
_FREE = 1e-9


@dataclass(frozen=True)
class Variant:
    """The method without one ingredient.

    Attributes:
        name: What is taken away.
        prepared: The measured layers without it.
        scale: Its rates are the method's times this, so that the curves overlap.
    """

    name: str
    prepared: Prepared
    scale: float = 1.0


def variants(ground: Ground) -> Iterator[Variant]:
    """Yield the whole method first, then each ingredient taken away."""
    whole = ground.prepare()
    yield Variant("the whole method", whole)
    yield Variant("no fitting of the last layers", replace(whole, again=None))
    yield Variant("no error feedback", changed(whole, _alone))
    for share, name in ((_FREE, "no rate term"), (0.1, "a tenth of it"), (0.3, "0.3 of it")):
        yield Variant(f"{name}, equal steps", with_price(whole, share), scale=share)
    yield Variant("no sensitivity: local output error", changed(whole, _levelled(whole.parts)))
    yield Variant("finer levels: coarseness 8.7 for 24", replace(whole, coarseness=8.7))
    yield Variant("no correction of the biases", changed(whole, _uncorrected))
    del whole
    yield Variant("a quarter of the samples", ground.prepare(share=4))
    with mock.patch.multiple(measure, DAMPING=0.1):
        yield Variant("damping 0.1 everywhere", ground.prepare())
    with mock.patch.object(choice, "choose", lambda ways: ways.prepared[0]):
        yield Variant("no choice by the whole model", ground.prepare())
    with mock.patch.multiple(measure, CAUTIOUS_DAMPING=measure.DAMPING, _DENSE=float("inf")):
        yield Variant("one damping, one step per layer", ground.prepare())


def changed(prepared: Prepared, change: Callable[[Part], Part]) -> Prepared:
    """Return a copy with every layer changed."""
    return replace(prepared, parts=tuple(change(part) for part in prepared.parts))


def with_price(prepared: Prepared, share: float) -> Prepared:
    """Return a copy that makes the same steps at a price of ``share`` of the method's."""
    return replace(prepared, coarseness=prepared.coarseness / share)


def _alone(part: Part) -> Part:
    """Keep the diagonal of the factors: errors are weighed but passed on to no column."""
    diagonal = np.einsum("gii->gi", part.factors)
    factors = np.zeros_like(part.factors)
    np.einsum("gii->gi", factors)[...] = diagonal
    return replace(part, factors=factors)


def _uncorrected(part: Part) -> Part:
    """Keep the bias: nothing makes good what rounding does to the mean output."""
    return replace(part, mean=np.zeros_like(part.mean))


def _levelled(parts: Sequence[Part]) -> Callable[[Part], Part]:
    """Give every layer one sensitivity: the geometric mean over the weights."""
    sizes = np.array([part.weights.size for part in parts], dtype=np.float64)
    logs = np.log([part.sensitivity for part in parts])
    level = float(np.exp((sizes * logs).sum() / sizes.sum()))
    return lambda part: replace(part, sensitivity=level)


def bytes_at(points: Sequence[Compared], wanted: float) -> float | None:
    """Interpolate log bytes over log divergence; None outside the curve."""
    ordered = sorted(points, key=lambda p: p.divergence)
    x = np.log([p.divergence for p in ordered])
    if not x[0] <= np.log(wanted) <= x[-1]:
        return None
    return float(np.exp(np.interp(np.log(wanted), x, np.log([p.bytes for p in ordered]))))


def row(name: str, points: Sequence[Compared], whole: Sequence[Compared]) -> str:
    """Say one variant's price: bytes over the whole method's, at the same divergence."""
    ratios = [
        found / point.bytes
        for point in whole
        if (found := bytes_at(points, point.divergence)) is not None
    ]
    price = f"{100 * (float(np.exp(np.mean(np.log(ratios)))) - 1):+.0f} %" if ratios else "apart"
    curve = "; ".join(f"{p.bytes / 1e3:.0f} kB {p.divergence:.3g}" for p in points)
    return f"| {name} | {price} | {curve} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rd_ablation", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=None, help="samples to judge by")
    parser.add_argument("--spread", type=float, nargs="+", default=[0.4, 1.0, 2.5])
    parser.add_argument("--first", type=int, default=None, help="so many of the variants alone")
    options = parser.parse_args()
    ground = open_ground(options.model, options.data, options.limit)
    print("| taken away | bytes at equal divergence | bytes and divergence |\n|---|---|---|")
    whole: list[Compared] = []
    for variant in islice(variants(ground), options.first):
        points = [
            ground.compare(variant.prepared.quantize(ground.rate * share * variant.scale))
            for share in options.spread
        ]
        whole = whole or points
        print(row(variant.name, points, whole), flush=True)


if __name__ == "__main__":
    main()
