"""Two forms of the same integers, chosen by the bytes that they cost on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sprat.quantization.rate_distortion.engine import Point
from sprat.quantization.rate_distortion.look import replaced
from sprat.quantization.weights import IntegerTensor, with_integers

#: ``int8``: DequantizeLinear of opset 13, loads anywhere. ``int4``: packed two to a byte, opset 21.
Form = Literal["int8", "int4"]

INT4_OPSET = 21
_INT4_LOW, _INT4_HIGH = -8, 7


def pack(model: onnx.ModelProto, point: Point, form: Form) -> onnx.ModelProto:
    """Store a point's integers in a model.

    Args:
        model: The float model that the point was made from, opset 13 or later.
        point: The integers and steps.
        form: How they are stored. In ``int4`` a layer with larger integers stays int8.

    Returns:
        A model whose weights are exactly integers times steps, with the point's biases.
    """
    tensors = {
        name: IntegerTensor(values, point.steps[name], point.axes[name])
        for name, values in point.integers.items()
    }
    small = with_integers(replaced(model, point.biases), tensors)
    if form == "int8":
        return small
    return _to_int4(_at_opset(small, INT4_OPSET), point.integers)


def _at_opset(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    current = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if current >= version:
        return model
    return onnx.version_converter.convert_version(model, version)


def _to_int4(model: onnx.ModelProto, integers: Mapping[str, NDArray[np.int8]]) -> onnx.ModelProto:
    out = onnx.ModelProto()
    out.CopyFrom(model)
    out.ir_version = max(out.ir_version, 10)  # the first with 4-bit tensors
    small = {
        f"{name}_quantized"
        for name, values in integers.items()
        if values.min(initial=0) >= _INT4_LOW and values.max(initial=0) <= _INT4_HIGH
    }
    for tensor in out.graph.initializer:
        if tensor.name in small:
            values = numpy_helper.to_array(tensor)
            tensor.CopyFrom(_int4_tensor(tensor.name, values))
    return out


def _int4_tensor(name: str, values: NDArray[np.int8]) -> onnx.TensorProto:
    """Pack two to a byte, the first in the low half (ONNX IR, "4 bit integer")."""
    flat = (values.ravel().astype(np.int16) & 15).astype(np.uint8)
    if flat.size % 2:
        flat = np.append(flat, np.uint8(0))
    packed = flat[0::2] | (flat[1::2] << 4)
    return helper.make_tensor(name, TensorProto.INT4, values.shape, packed.tobytes(), raw=True)
