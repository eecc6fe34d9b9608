"""Shapes of every tensor of a graph, inferred without its weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx
from onnx import helper
from onnx.shape_inference import InferenceError

from sprat.model.nodes import subgraphs

#: Larger initializers hold weights, whose values never decide a shape.
_WEIGHT_ELEMENTS = 256

#: The values of shapes are not followed where a vector of them could grow beyond this.
_LONGEST_VECTOR = 4096
#: More axes than this has no tensor.
_MOST_AXES = 64

Shape = tuple[int, ...]
#: None where a dimension is not known.
PartialShape = tuple[int | None, ...]


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


def infer_partial_shapes(
    model: onnx.ModelProto, inputs: Mapping[str, PartialShape]
) -> dict[str, PartialShape]:
    """Infer shapes from stated shapes of the inputs; what depends on others stays unknown.

    Values of shapes are followed, too (a Reshape to what a Shape gave), unless they could grow.

    Args:
        model: A checked model.
        inputs: Shapes by input, in place of those in the model.

    Returns:
        Shape by name of each input, initializer and activation whose rank is known.
    """
    light = _without_weights(model)
    del light.graph.value_info[:]
    for value in light.graph.input:
        if value.name in inputs:
            _state(value, inputs[value.name])
    for value in light.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        follow = _stays_short(light)
        found = onnx.shape_inference.infer_shapes(light, data_prop=follow).graph
    except (InferenceError, RuntimeError, ValueError, TypeError):
        found = light.graph
    shapes = {v.name: shape for v in _values(found) if (shape := _partial(v)) is not None}
    return shapes | {t.name: tuple(t.dims) for t in model.graph.initializer}


def _state(value: onnx.ValueInfoProto, shape: PartialShape) -> None:
    dims = value.type.tensor_type.shape
    del dims.dim[:]
    for size in shape:
        dim = dims.dim.add()
        if size is not None:
            dim.dim_value = size


def _partial(value: onnx.ValueInfoProto) -> PartialShape | None:
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return tuple(d.dim_value if d.dim_value > 0 else None for d in kind.shape.dim)


def _stays_short(model: onnx.ModelProto) -> bool:
    """Say whether no vector that is made of shapes can grow: forty Concats make 2^40 values."""
    if model.functions or any(True for node in model.graph.node for _ in subgraphs(node)):
        return False
    lengths = {t.name: _elements(t) for t in model.graph.initializer}
    for node in model.graph.node:
        read = [lengths.get(name, 0) for name in node.input]
        longest = sum(read) if node.op_type == "Concat" else max(read, default=0)
        if node.op_type in ("Shape", "Constant"):
            longest = _MOST_AXES
        if longest > _LONGEST_VECTOR:
            return False
        lengths |= dict.fromkeys(node.output, longest)
    return True


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
