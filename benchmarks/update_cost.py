"""What a visitor fetches again when a model changes: one layer, or all of it.

Usage:
    python -m benchmarks.update_cost SMALL

``SMALL`` is what ``sprat optimize`` wrote. The model is bundled; then with its last layer changed
as a short training would; then as another model altogether (all weights shuffled, which compresses
worse than a trained one). Bytes on the wire of the files that the new manifest names and the old
does not. That the loader fetches just those is a test (``tests/test_loader.py``). Prints a table.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from benchmarks.measure import machine
from sprat.delivery.bundle import Shape
from sprat.delivery.manifest import Manifest
from sprat.model.load import load, model_file
from sprat.workflow.bundle import bundle

CHUNKS = (64 << 10, 128 << 10, 256 << 10)


def with_last_layer(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose last node with weights has other ones."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in out.graph.initializer}
    made = {name: node for node in out.graph.node for name in node.output}
    for node in reversed(out.graph.node):
        names = [n for n in node.input if n in tensors]
        names += [n for i in node.input if i in made for n in made[i].input if n in tensors]
        if node.op_type in ("Gemm", "MatMul", "Conv") and names:
            for name in names:
                _change(tensors[name])
            return out
    raise SystemExit("no layer with weights")


def another(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy with all weights changed."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    for tensor in out.graph.initializer:
        _change(tensor)
    return out


def _change(tensor: TensorProto) -> None:
    values = numpy_helper.to_array(tensor)
    if values.size < 2 or tensor.data_type == TensorProto.INT64:
        return
    shuffled = np.random.default_rng(0).permutation(values.ravel()).reshape(values.shape)
    tensor.CopyFrom(numpy_helper.from_array(shuffled, tensor.name))


def wire(manifest: Manifest) -> dict[str, int]:
    """Return the br bytes of each file by path."""
    runtime = manifest.runtime
    files = [runtime.module, runtime.glue, runtime.wasm]
    files += [chunk for model in manifest.models for chunk in model.chunks]
    return {file.path: file.encoded["br"] for file in files}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.update_cost", description=__doc__)
    parser.add_argument("small", type=Path)
    options = parser.parse_args()
    path = model_file(options.small)
    model = load(path)
    print(f"{machine()}\n\n| chunk | chunks | first visit | last layer | new model |")
    print("|---|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory(prefix="update-") as place:
        for size in CHUNKS:
            made = []
            for i, version in enumerate((model, with_last_layer(model), another(model))):
                file = Path(place) / f"{size}-{i}.onnx"
                onnx.save(version, file)
                site = Path(place) / f"{size}-{i}"
                made.append(wire(bundle(file, site, shape=Shape(size), runtime="ort")))
            old, *new = made
            costs = [sum(n for path, n in files.items() if path not in old) for files in new]
            count = sum(1 for path in old if "assets" in path)
            first = sum(old.values())
            row = " | ".join(f"{cost:,} ({cost / first:.1%})" for cost in costs)
            print(f"| {size >> 10} KiB | {count} | {first:,} | {row} |", flush=True)


if __name__ == "__main__":
    main()
