"""Multiply-adds of one run."""

from __future__ import annotations

import math

import onnx

from sprat.model.shapes import Shape, infer_shapes

#: Which input holds the weight.
_CONVOLUTIONS = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}
_PRODUCTS = {"MatMul": 1, "MatMulInteger": 1, "FusedMatMul": 1, "QLinearMatMul": 3}
_RECURRENT = {"LSTM", "GRU", "RNN"}


def multiply_adds(model: onnx.ModelProto) -> dict[int, int]:
    """Count the multiply-adds of convolutions, matrix products and recurrent cells.

    A convolution takes one per weight of a filter and output element; dynamic dimensions are 1.

    Args:
        model: Any model; shapes are inferred where it does not say them.

    Returns:
        Index of the node in the graph to its multiply-adds; nodes of unknown shape are left out.
    """
    shapes = infer_shapes(model)
    counts = {i: _count(node, shapes) for i, node in enumerate(model.graph.node)}
    return {i: count for i, count in counts.items() if count}


def _count(node: onnx.NodeProto, shapes: dict[str, Shape]) -> int:
    kind = node.op_type
    index = _CONVOLUTIONS.get(kind) or _PRODUCTS.get(kind) or 1
    if len(node.input) <= index or not node.output:
        return 0
    data, weight = shapes.get(node.input[0]), shapes.get(node.input[index])
    output = shapes.get(node.output[0])
    if not data or not weight or output is None:
        return 0
    if kind in _RECURRENT:
        recurrence = shapes.get(node.input[2], ()) if len(node.input) > 2 else ()
        return math.prod(data[:2]) * (math.prod(weight) + math.prod(recurrence))
    if kind in _CONVOLUTIONS:
        return math.prod(weight[1:]) * math.prod(output)
    return {
        "ConvTranspose": math.prod(weight[1:]) * math.prod(data),
        "Gemm": math.prod(weight) // max(1, output[-1]) * math.prod(output) if output else 0,
        **dict.fromkeys(_PRODUCTS, data[-1] * math.prod(output)),
    }.get(kind, 0)
