"""One peer on one model, in a process of its own so that its time and memory can be measured.

Usage:
    python -m benchmarks.peers METHOD MODEL DATA OUT

onnxruntime is called as its documentation shows, after raising the opset to 13 where the method
needs it; calibration takes 128 samples of ``train``.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from sprat.data.options import read_options
from sprat.data.sources import open_data
from sprat.model.inspect import tensor_infos

SAMPLES = 128


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands ONNX Runtime one sample at a time."""

    def __init__(self, samples: Iterator[dict[str, Any]]) -> None:
        self._samples = samples

    def get_next(self) -> dict[str, Any] | None:
        """Return the next sample."""
        return next(self._samples, None)


def ort_dynamic(model: Path, _data: Path, out: Path) -> None:
    quantize_dynamic(model, out, weight_type=QuantType.QUInt8)


def ort_static(model: Path, data: Path, out: Path) -> None:
    proto = onnx.load(model)
    if max(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")) < 13:
        proto = onnx.version_converter.convert_version(proto, 13)
    found = open_data(data, tensor_infos(proto), options=read_options(model, data))
    source = found.calibration
    step = max(1, len(source.samples) // SAMPLES)
    samples = (source.batch([i * step]) for i in range(min(SAMPLES, len(source.samples))))
    quantize_static(
        proto,
        out,
        Reader(samples),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def _shrink_ray(method: str, model: Path, out: Path) -> None:
    folder = out.parent / method
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "onnx_shrink_ray.shrink", "--method", method]
    command += ["--output_dir", str(folder), "--output_suffix", "_small.onnx", str(model)]
    subprocess.run(command, check=True, capture_output=True)
    (folder / f"{model.stem}_small.onnx").replace(out)


def shrink_ray_integer(model: Path, _data: Path, out: Path) -> None:
    _shrink_ray("integer_weights", model, out)


def shrink_ray_float(model: Path, _data: Path, out: Path) -> None:
    _shrink_ray("float_weights", model, out)


METHODS = {
    "onnxruntime dynamic QUInt8": ort_dynamic,
    "onnxruntime static U8S8 per-channel": ort_static,
    "onnx-shrink-ray integer weights": shrink_ray_integer,
    "onnx-shrink-ray float levels": shrink_ray_float,
}


if __name__ == "__main__":
    name, *paths = sys.argv[1:]
    METHODS[name](*(Path(p) for p in paths))
