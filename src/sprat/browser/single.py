"""A model's nodes one by one, to ask a runtime which of them it has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from sprat.model.operators import domain_of

#: Larger initializers become inputs: what decides an operator's form is small.
_LARGEST_CONSTANT = 4096


@dataclass(frozen=True)
class Single:
    """One kind of node, as a model of its own.

    Attributes:
        operator: Name, with its domain where that is not ONNX's own.
        opset: Version of that domain.
        types: Element types of the inputs, such as ``float32``.
        nodes: How many nodes of the model are of this kind.
        content: The one-node model as bytes.
    """

    operator: str
    opset: int
    types: tuple[str, ...]
    nodes: int
    content: bytes


def single_nodes(model: onnx.ModelProto) -> list[Single]:
    """Take one node of each kind (operator and element types) out of a model.

    Args:
        model: A model that the checker accepts.

    Returns:
        The kinds, by name. Nodes with an input whose type cannot be inferred are left out.
    """
    inferred = onnx.shape_inference.infer_shapes(model)
    types = _types(inferred.graph)
    constants = {t.name: t for t in model.graph.initializer}
    opsets = {domain_of(o.domain): o.version for o in model.opset_import}
    kinds: dict[tuple[str, str, tuple[str, ...]], list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        given = [types.get(name) for name in node.input if name]
        if any(kind is None for kind in given):
            continue
        names = tuple(_type_name(kind) for kind in given if kind is not None)
        kinds.setdefault((domain_of(node.domain), node.op_type, names), []).append(node)
    return [
        Single(
            f"{domain}.{operator}" if domain else operator,
            opsets.get(domain, 0),
            names,
            len(nodes),
            _alone(model, nodes[0], types, constants),
        )
        for (domain, operator, names), nodes in sorted(kinds.items())
    ]


def _types(graph: onnx.GraphProto) -> dict[str, onnx.TypeProto]:
    found = {v.name: v.type for v in _values(graph)}
    for tensor in graph.initializer:
        found[tensor.name] = helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
    return found


def _values(graph: onnx.GraphProto) -> Iterator[onnx.ValueInfoProto]:
    yield from graph.value_info
    yield from graph.input
    yield from graph.output


def _type_name(kind: onnx.TypeProto) -> str:
    name = TensorProto.DataType.Name(kind.tensor_type.elem_type).lower()
    return "float32" if name == "float" else name


def _alone(
    model: onnx.ModelProto,
    node: onnx.NodeProto,
    types: dict[str, onnx.TypeProto],
    constants: dict[str, TensorProto],
) -> bytes:
    small = [
        constants[name]
        for name in dict.fromkeys(node.input)
        if name in constants and constants[name].ByteSize() <= _LARGEST_CONSTANT
    ]
    kept = {tensor.name for tensor in small}
    inputs = [
        helper.make_value_info(name, types[name])
        for name in dict.fromkeys(node.input)
        if name and name not in kept
    ]
    outputs = [
        helper.make_value_info(name, types[name])
        if name in types
        else onnx.ValueInfoProto(name=name)
        for name in node.output
        if name
    ]
    graph = helper.make_graph([node], "one", inputs, outputs, small)
    alone = helper.make_model(graph, ir_version=model.ir_version)
    del alone.opset_import[:]
    alone.opset_import.extend(model.opset_import)
    return alone.SerializeToString(deterministic=True)


def identity() -> bytes:
    """Return the smallest model: it opens a runtime before others are tried in it."""
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "i", value[:1], value[1:]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return model.SerializeToString(deterministic=True)
