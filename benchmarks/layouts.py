"""What another order of a model's integers, or a narrower type, would save in br-11 bytes.

Usage:
    python -m benchmarks.layouts SMALL.onnx

``SMALL.onnx`` is what ``sprat optimize`` wrote. Each convolution's integers are packed two to a
byte in several orders and compressed alone. Any order but the stored one needs a Transpose of every
weight in every run. Prints a table.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import brotli
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from benchmarks.measure import machine

Integers = NDArray[np.int8]

_LEAST = 2000


def integers(model: onnx.ModelProto) -> list[Integers]:
    """Return the integer weights of rank 4."""
    kinds = (TensorProto.INT8, TensorProto.INT4)
    found = [
        numpy_helper.to_array(tensor).astype(np.int8)
        for tensor in model.graph.initializer
        if tensor.data_type in kinds and len(tensor.dims) == 4
    ]
    return [values for values in found if values.size >= _LEAST]


def packed(values: Integers) -> int:
    """Return the br-11 bytes of values packed as INT4."""
    flat = np.ascontiguousarray(values).ravel()
    flat = np.append(flat, np.zeros(flat.size % 2, np.int8))
    nibbles = (flat[0::2] & 15) | ((flat[1::2] & 15) << 4)
    return len(brotli.compress(nibbles.astype(np.uint8).tobytes(), lgwin=22))


def orders(values: Integers) -> dict[str, Integers]:
    """Return a weight in several orders; O and I are output and input channels, H and W places."""
    outputs = np.argsort((values != 0).sum(axis=(1, 2, 3)), kind="stable")
    inputs = np.argsort((values != 0).sum(axis=(0, 2, 3)), kind="stable")
    ranked = values[outputs][:, inputs]
    return {
        "O I H W, as stored": values,
        "O H W I": values.transpose(0, 2, 3, 1),
        "H W O I": values.transpose(2, 3, 0, 1),
        "H W I O": values.transpose(2, 3, 1, 0),
        "I O H W": values.transpose(1, 0, 2, 3),
        "O I H W, outputs by number of zeros": values[outputs],
        "H W I O, both by number of zeros": ranked.transpose(2, 3, 1, 0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layouts", description=__doc__)
    parser.add_argument("model", type=Path)
    options = parser.parse_args()
    found = integers(onnx.load(options.model))
    sums: dict[str, int] = defaultdict(int)
    for values in found:
        if np.abs(values).max() <= 8:
            for name, ordered in orders(values).items():
                sums[name] += packed(ordered)
    stored = sums["O I H W, as stored"]
    narrow = sum(v.size for v in found if v.min() >= -2 and v.max() <= 1)
    print(f"{machine()}\n\n| order | br-11 bytes | |\n|---|---:|---:|")
    for name, size in sums.items():
        print(f"| {name} | {size:,} | {size / stored - 1:+.1%} |")
    share = narrow / sum(v.size for v in found)
    print(f"\nWeights in layers that fit INT2 (-2 to 1): {share:.1%}.")


if __name__ == "__main__":
    main()
