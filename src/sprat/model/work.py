"""Multiply-adds of one run."""

from __future__ import annotations

import math

import onnx
from onnx.shape_inference import InferenceError

_UNKNOWN = 1


def multiply_adds(model: onnx.ModelProto) -> dict[int, int]:
    """Count the multiply-adds of convolutions and matrix products, dynamic dimensions at 1.

    Args:
        model: Any model; shapes are inferred where it does not say them.

    Returns:
        Index of the node in the graph to its multiply-adds; nodes of unknown shape are left out.
    """
    shapes = _shapes(model)
    found = {}
    for i, node in enumerate(model.graph.node):
        count = _count(node, shapes)
        if count:
            found[i] = count
    return found


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    light = onnx.ModelProto()
    light.CopyFrom(model)
    weights = {t.name: tuple(t.dims) for t in model.graph.initializer}
    for tensor in light.graph.initializer:
        if tensor.ByteSize() > 1024:  # values of large weights never decide a shape
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
    try:
        inferred = onnx.shape_inference.infer_shapes(light).graph
    except (InferenceError, RuntimeError, ValueError, TypeError):
        inferred = model.graph  # shapes that contradict each other: what is said has to do
    known = dict(weights)
    for value in (*inferred.input, *inferred.output, *inferred.value_info):
        dims = value.type.tensor_type.shape.dim
        known[value.name] = tuple(d.dim_value if d.dim_value > 0 else _UNKNOWN for d in dims)
    return known | weights


def _count(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    if len(node.input) < 2 or not node.output:
        return 0
    weight, output = shapes.get(node.input[1]), shapes.get(node.output[0])
    data = shapes.get(node.input[0])
    if weight is None or output is None or data is None:
        return 0
    each = {
        "Conv": math.prod(weight[1:]) * math.prod(output),
        "ConvTranspose": math.prod(weight[1:]) * math.prod(data),
        "Gemm": math.prod(weight) // max(1, output[-1] if output else 1) * math.prod(output),
        "MatMul": (data[-1] if data else 0) * math.prod(output),
    }
    return each.get(node.op_type, 0)
