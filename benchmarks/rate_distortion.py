"""The rate-distortion curve of a model against ONNX Runtime's own methods, in one run.

Run ``python -m benchmarks.rate_distortion MODEL --data DATA``; it prints a table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.rd_curve import Ground, Measured, open_ground
from sprat.errors import SpratError
from sprat.model.wire import brotli_bytes
from sprat.quantization.configs import Config, Dynamic, Static, Weights
from sprat.quantization.quantize import quantize

PEERS: dict[str, Config] = {
    "onnxruntime dynamic": Dynamic(),
    "onnxruntime static": Static(),
    "int8 weights, nearest": Weights(),
}
HEAD = (
    "| method | bits a weight | br-11 int8 | br-11 int4 | divergence | drop, points | agreement |\n"
    "|---|---|---|---|---|---|---|"
)


def peers(ground: Ground) -> Iterator[str]:
    """Yield a row for each of ONNX Runtime's methods that can do something."""
    samples = [{k: v[i : i + 1] for k, v in f.items()} for f in ground.samples[:8] for i in (0, 1)]
    for name, config in PEERS.items():
        try:
            model = quantize(ground.model, config, samples)
        except SpratError as error:
            yield f"| {name} | {error.what} | | | | | |"
            continue
        found = ground.reference.evaluate(model)
        size = brotli_bytes(model.SerializeToString(deterministic=True))
        yield (
            f"| {name} | 8 | {size / 1e3:.0f} kB | | {found.error.divergence:.3g} | "
            f"{found.drop:+.2f} | {found.agreement:.2%} |"
        )


def row(point: Measured) -> str:
    """Say one point on the curve."""
    return (
        f"| rate-distortion | {point.bits_per_weight:.2f} | {point.int8 / 1e3:.0f} kB | "
        f"{point.int4 / 1e3:.0f} kB | {point.divergence:.3g} | {point.drop:+.2f} | "
        f"{point.agreement:.2%} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rate_distortion", description=__doc__
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=None, help="samples of each split")
    parser.add_argument(
        "--spread",
        type=float,
        nargs="+",
        default=[0.02, 0.1, 0.3, 0.6, 1.0, 2.0],
        help="prices of a bit, as multiples of the usual one",
    )
    options = parser.parse_args()
    ground = open_ground(options.model, options.data, options.limit)
    print(HEAD)
    for line in peers(ground):
        print(line, flush=True)
    start = time.perf_counter()
    prepared = ground.prepare()
    print(f"<!-- measuring the layers: {time.perf_counter() - start:.0f} s -->")
    for share in options.spread:
        start = time.perf_counter()
        point = prepared.quantize(ground.rate * share)
        print(
            row(ground.measure(point)), f"<!-- {time.perf_counter() - start:.0f} s -->", flush=True
        )


if __name__ == "__main__":
    main()
