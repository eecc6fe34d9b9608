"""Multiply-adds of one run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from sprat.model.nodes import printable
from sprat.model.shapes import PartialShape, Shape, infer_partial_shapes

#: Which input holds the weight.
_CONVOLUTIONS = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}
_PRODUCTS = {"MatMul": 1, "MatMulInteger": 1, "FusedMatMul": 1, "QLinearMatMul": 3}
_RECURRENT = {"LSTM", "GRU", "RNN"}
_COMPUTING = {*_CONVOLUTIONS, *_PRODUCTS, *_RECURRENT, "ConvTranspose", "Gemm"}
#: Sizes of an axis that holds the colours of an image.
_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class Work:
    """What one run of a model computes.

    Attributes:
        counts: Index of the node in the graph to its multiply-adds.
        uncounted: Nodes that compute, and whose shapes are not known.
        free: Dimensions of inputs that no one stated, such as ``height of 'input'``.
    """

    counts: dict[int, int]
    uncounted: int
    free: tuple[str, ...]


def multiply_adds(
    model: onnx.ModelProto,
    shapes: Mapping[str, Sequence[int]] | None = None,
    size: tuple[int, int] | None = None,
) -> Work:
    """Count the multiply-adds of convolutions, matrix products and recurrent cells on one sample.

    A convolution takes one per weight of a filter and output element.

    Args:
        model: Any model; shapes are inferred where it does not say them.
        shapes: Shapes of inputs, by name; they go before those in the model.
        size: Height and width of images, where the model leaves them free.

    Returns:
        The multiply-adds; nodes whose shapes depend on a free dimension are not counted.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    stated: dict[str, PartialShape] = {}
    free: list[str] = []
    for value in model.graph.input:
        if value.name in weights:
            continue
        dims = value.type.tensor_type.shape.dim
        if shapes and value.name in shapes:
            stated[value.name] = tuple(shapes[value.name])
            continue
        stated[value.name] = shape = _one_sample(dims, size)
        names = [printable(d.dim_param) or f"axis {i}" for i, d in enumerate(dims)]
        missing = [name for name, known in zip(names, shape, strict=True) if known is None]
        free += [f"{name} of {printable(value.name)!r}" for name in missing]
    known = infer_partial_shapes(model, stated)
    found = {i: count_node(node, known) for i, node in enumerate(model.graph.node)}
    counts = {i: count for i, count in found.items() if count}
    return Work(counts, sum(count is None for count in found.values()), tuple(free))


def _one_sample(dims: Sequence[Any], size: tuple[int, int] | None) -> PartialShape:
    """Return an input's shape for one sample: a free first axis is 1, a free image has a size."""
    shape = [d.dim_value if d.dim_value > 0 else None for d in dims]
    if shape and shape[0] is None:
        shape[0] = 1
    if size is None or len(shape) != 4:
        return tuple(shape)
    last = shape[3] in _CHANNELS and shape[1] not in _CHANNELS
    usual = (1, *size, 3) if last else (1, 3, *size)
    return tuple(b if a is None else a for a, b in zip(shape, usual, strict=True))


def count_node(node: onnx.NodeProto, shapes: Mapping[str, PartialShape]) -> int | None:
    """Return a node's multiply-adds; 0 where it has none, None where its shapes are not known."""
    kind = node.op_type
    index = _CONVOLUTIONS.get(kind) or _PRODUCTS.get(kind) or 1
    computes = kind in _COMPUTING and len(node.input) > index and bool(node.output)
    if not computes:
        return 0
    recurrence: PartialShape = ()
    if kind in _RECURRENT and len(node.input) > 2:
        recurrence = shapes.get(node.input[2], ())
    found = [shapes.get(n) for n in (node.input[0], node.input[index], node.output[0])]
    needed = found[:2] if kind in (*_RECURRENT, "ConvTranspose") else found
    if any(not shape or None in shape for shape in needed) or None in recurrence:
        return None
    data, weight, output = (_known(shape) for shape in found)
    if kind in _RECURRENT:
        return math.prod(data[:2]) * (math.prod(weight) + math.prod(_known(recurrence)))
    if kind == "ConvTranspose":
        return math.prod(weight[1:]) * math.prod(data)
    each = {
        "Gemm": math.prod(weight) // max(1, output[-1]),
        **dict.fromkeys(_CONVOLUTIONS, math.prod(weight[1:])),
        **dict.fromkeys(_PRODUCTS, data[-1]),
    }
    return each[kind] * math.prod(output)


def _known(shape: PartialShape | None) -> Shape:
    return tuple(size or 0 for size in shape or ())
