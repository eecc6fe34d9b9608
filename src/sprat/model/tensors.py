"""Tensors that hold what they say: as many bytes as shape and type want, no more, no fewer."""

from __future__ import annotations

import math

import onnx
from onnx import TensorProto

from sprat.errors import ModelFormatError
from sprat.model.nodes import shown

#: numpy and ONNX Runtime take more, but no real tensor has.
MAX_RANK = 32

_FIELDS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")

#: By type: bits of an element in ``raw_data``, the typed field, and that field's entries per
#: element (onnx.proto, message TensorProto).
_LAYOUT: dict[int, tuple[int, str, float]] = {
    TensorProto.FLOAT: (32, "float_data", 1),
    TensorProto.COMPLEX64: (64, "float_data", 2),
    TensorProto.DOUBLE: (64, "double_data", 1),
    TensorProto.COMPLEX128: (128, "double_data", 2),
    TensorProto.INT64: (64, "int64_data", 1),
    TensorProto.UINT64: (64, "uint64_data", 1),
    TensorProto.UINT32: (32, "uint64_data", 1),
    TensorProto.INT32: (32, "int32_data", 1),
    TensorProto.INT16: (16, "int32_data", 1),
    TensorProto.UINT16: (16, "int32_data", 1),
    TensorProto.INT8: (8, "int32_data", 1),
    TensorProto.UINT8: (8, "int32_data", 1),
    TensorProto.BOOL: (8, "int32_data", 1),
    TensorProto.FLOAT16: (16, "int32_data", 1),
    TensorProto.BFLOAT16: (16, "int32_data", 1),
    TensorProto.FLOAT8E4M3FN: (8, "int32_data", 1),
    TensorProto.FLOAT8E4M3FNUZ: (8, "int32_data", 1),
    TensorProto.FLOAT8E5M2: (8, "int32_data", 1),
    TensorProto.FLOAT8E5M2FNUZ: (8, "int32_data", 1),
    TensorProto.FLOAT8E8M0: (8, "int32_data", 1),
    TensorProto.UINT4: (4, "int32_data", 0.5),
    TensorProto.INT4: (4, "int32_data", 0.5),
    TensorProto.FLOAT4E2M1: (4, "int32_data", 0.5),
    TensorProto.UINT2: (2, "int32_data", 0.25),
    TensorProto.INT2: (2, "int32_data", 0.25),
}


def check_tensor(tensor: onnx.TensorProto, where: str) -> None:
    """Check that a tensor's data is there, in the right field, and as long as its shape says.

    Args:
        tensor: Not with external data.
        where: What errors call the model.

    Raises:
        ModelFormatError: It is not so.
    """
    name = shown(tensor.name)
    shape = list(tensor.dims)
    if len(shape) > MAX_RANK or any(d < 0 for d in shape):
        raise ModelFormatError(f"tensor {name} has the shape {shape[:MAX_RANK]}.", where=where)
    if tensor.HasField("segment"):
        raise ModelFormatError(f"tensor {name} is in segments, which no one reads.", where=where)
    count = math.prod(shape)
    raw = len(tensor.raw_data)
    filled = {field: len(getattr(tensor, field)) for field in _FIELDS}
    typed = {field: length for field, length in filled.items() if length}
    if tensor.data_type == TensorProto.STRING:
        wanted, field, entries = "strings", "string_data", count
        good = not raw and typed == ({field: count} if count else {})
    elif tensor.data_type in _LAYOUT:
        bits, field, per_element = _LAYOUT[tensor.data_type]
        size, entries = -(-count * bits // 8), math.ceil(count * per_element)
        wanted = f"{size:,} bytes"
        good = (raw == size and not typed) or (not raw and typed == {field: entries})
    else:
        raise ModelFormatError(
            f"tensor {name} has the unknown type {tensor.data_type}.", where=where
        )
    if not good:
        got = f"{raw:,} bytes" if raw or not typed else f"{sum(typed.values()):,} values"
        raise ModelFormatError(
            f"tensor {name} of shape {shape} wants {wanted} and has {got}.",
            where=where,
            hint="The file is damaged: download or export it again.",
        )
