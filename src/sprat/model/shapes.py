"""Shapes of every tensor of a graph, inferred without its weights."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx import helper
from onnx.shape_inference import InferenceError

#: Larger initializers hold weights, whose values never decide a shape.
_WEIGHT_ELEMENTS = 256

Shape = tuple[int, ...]


def infer_shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """Infer shapes with dynamic dimensions at 1.

    Weights are replaced by inputs of their shape, so that the cost does not grow with the model,
    and values are not propagated, so that a shape that lies allocates nothing.

    Args:
        model: A checked model.

    Returns:
        Shape by name of each input, initializer and activation whose rank is known. Where the
        model contradicts itself, only what it says.
    """
    try:
        found = onnx.shape_inference.infer_shapes(_without_weights(model)).graph
    except (InferenceError, RuntimeError, ValueError, TypeError):
        found = model.graph
    shapes = {v.name: shape for v in _values(found) if (shape := _shape(v)) is not None}
    return shapes | {t.name: tuple(t.dims) for t in model.graph.initializer}


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    graph = model.graph
    given = {v.name for v in graph.input}
    large = {t.name: t for t in graph.initializer if _elements(t) > _WEIGHT_ELEMENTS}
    stand_ins = [
        helper.make_tensor_value_info(name, t.data_type, list(t.dims))
        for name, t in large.items()
        if name not in given
    ]
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    light.functions.extend(model.functions)
    light.graph.name = graph.name
    light.graph.node.extend(graph.node)
    light.graph.input.extend([*graph.input, *stand_ins])
    light.graph.output.extend(graph.output)
    light.graph.value_info.extend(graph.value_info)
    light.graph.initializer.extend(t for t in graph.initializer if t.name not in large)
    return light


def _elements(tensor: onnx.TensorProto) -> int:
    count = 1
    for d in tensor.dims:
        count *= d
    return count


def _values(graph: onnx.GraphProto) -> Iterable[onnx.ValueInfoProto]:
    return (*graph.value_info, *graph.input, *graph.output)


def _shape(value: onnx.ValueInfoProto) -> Shape | None:
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return tuple(d.dim_value if d.dim_value > 0 else 1 for d in kind.shape.dim)
