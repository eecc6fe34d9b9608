"""A compact network with depthwise convolutions: all its bits counted, scales and biases too.

Usage:
    pip install --no-deps --target MODELS rapidocr-onnxruntime==1.4.4
    python -m benchmarks.compact --site MODELS

The text direction classifier of PP-OCR. Each point is looked at on ``val`` and on ``test``; nothing
is chosen by it. Bits are the order-0 entropy of the integers plus those of every number that stays
float (scales, biases, what is not quantized): 16 where the lower half of it is zero, 32 otherwise;
over all numbers of the original. Prints a table.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from benchmarks.measure import machine
from benchmarks.rd_curve import open_ground
from benchmarks.third_party import find_model, make_direction
from sprat.model.wire import brotli_bytes
from sprat.quantization.rate_distortion import pack
from sprat.workflow.setting import open_setting

#: Prices of a bit, as multiples of the usual one.
SPREAD = (0.1, 0.2, 0.4, 0.5, 0.6, 0.7, 1.0)


def float_bits(model: onnx.ModelProto) -> tuple[int, int]:
    """Return how many float numbers a model's tensors hold, and their bits."""
    numbers = bits = 0
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            halves = numpy_helper.to_array(tensor).astype(np.float32).reshape(-1).view(np.uint32)
            numbers += halves.size
            bits += 16 * halves.size + 16 * int(np.count_nonzero(halves & 0xFFFF))
    return numbers, bits


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compact", description=__doc__)
    parser.add_argument("--site", type=Path, help="where pip install --target put the wheel")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="compact-") as place:
        model = find_model("direction", options.site)
        data = make_direction(Path(place) / "direction")
        ground = open_ground(model, data)
        test = open_setting(model, data, split="test").reference
        numbers, _ = float_bits(ground.model)
        print(f"{machine()}\n\n{numbers:,} numbers in the original.\n")
        print("| bits a number, all counted | of the integers | br-11 | val | test |")
        print("|---:|---:|---:|---|---|")
        prepared = ground.prepare()
        for share in SPREAD:
            point = prepared.quantize(ground.rate * share)
            small = pack(ground.model, point, "int8")
            weights = sum(values.size for values in point.integers.values())
            total = (point.bits + float_bits(small)[1]) / numbers
            looks = [reference.evaluate(small) for reference in (ground.reference, test)]
            said = " | ".join(
                f"{e.drop:+.2f} ({e.interval.low:+.2f} to {e.interval.high:+.2f}), {e.samples}"
                for e in looks
            )
            size = brotli_bytes(small.SerializeToString(deterministic=True))
            bits = point.bits / weights
            print(f"| {total:.2f} | {bits:.2f} | {size:,} | {said} |", flush=True)


if __name__ == "__main__":
    main()
