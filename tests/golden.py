"""What quantizing makes of the example, by hash: ``python -m tests.golden`` writes it anew.

A hash that changes is no fault, but must be meant: a change of bytes has its line in changes.
The bytes of what is computed from the weights alone are the same on every CPU. What runs the model
first (static, rate-distortion) sums floats in the order of the CPU's vector instructions, so that
of those the form is kept: nodes, names, types and shapes, without values.
"""

from __future__ import annotations

import json
from pathlib import Path

import onnx

from sprat.data.options import read_options
from sprat.data.sources import open_data
from sprat.files import sha256, write_atomic
from sprat.graph.simplify import simplify
from sprat.model.inspect import tensor_infos
from sprat.model.load import load
from sprat.model.session import Feeds
from sprat.quantization.configs import METHODS
from sprat.quantization.quantize import quantize

FILE = Path(__file__).with_name("golden.json")
_EXAMPLE = Path(__file__).parents[1] / "examples/doodles"
_SAMPLES = 12
_SAME_EVERYWHERE = ("weights", "float16", "dynamic")


def golden() -> dict[str, str]:
    """Return hashes by what was made."""
    model = load(_EXAMPLE / "doodles.onnx")
    samples = _samples(model)
    clean = simplify(model, samples[:2]).model
    found = {"simplify, bytes": _bytes(clean)}
    for name, method in METHODS.items():
        made = quantize(clean, method(), samples)
        exact = name in _SAME_EVERYWHERE
        found[f"{name}, {'bytes' if exact else 'form'}"] = _bytes(made if exact else _form(made))
    return found


def _samples(model: onnx.ModelProto) -> list[Feeds]:
    data = _EXAMPLE / "data"
    options = read_options(_EXAMPLE / "doodles.onnx", data, None)
    source = open_data(data, tensor_infos(model), options=options, limit=_SAMPLES).calibration
    return [source.batch([i]) for i in range(len(source.samples))]


def _form(model: onnx.ModelProto) -> onnx.ModelProto:
    out = onnx.ModelProto()
    out.CopyFrom(model)
    for tensor in out.graph.initializer:
        tensor.raw_data = b""
        for field in ("float_data", "int32_data", "int64_data"):
            tensor.ClearField(field)
    return out


def _bytes(model: onnx.ModelProto) -> str:
    return sha256(model.SerializeToString(deterministic=True))


if __name__ == "__main__":
    write_atomic(FILE, json.dumps(golden(), indent=2) + "\n")
