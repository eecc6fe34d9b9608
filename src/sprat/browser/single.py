"""A model's nodes one by one, to ask a runtime which of them it has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from sprat.model.nodes import names_read
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
        The kinds, by name. Nodes that read a value whose type cannot be inferred are left out.
    """
    inferred = onnx.shape_inference.infer_shapes(model)
    types = _types(inferred.graph)
    constants = {t.name: t for t in model.graph.initializer}
    values = _names(model.graph)
    opsets = {domain_of(o.domain): o.version for o in model.opset_import}
    kinds: dict[tuple[str, str, tuple[str, ...]], list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        if any(name not in types for name in _read(node, values)):
            continue
        names = tuple(_type_name(types[name]) for name in node.input if name)
        kinds.setdefault((domain_of(node.domain), node.op_type, names), []).append(node)
    return [
        Single(
            f"{domain}.{operator}" if domain else operator,
            opsets.get(domain, 0),
            names,
            len(nodes),
            _alone(model, nodes[0], _read(nodes[0], values), types, constants),
        )
        for (domain, operator, names), nodes in sorted(kinds.items())
    ]


def _names(graph: onnx.GraphProto) -> set[str]:
    """Return the names of all values of a graph, those of its nodes' bodies left out."""
    made = {name for node in graph.node for name in node.output}
    return made | {v.name for v in graph.input} | {t.name for t in graph.initializer}


def _read(node: onnx.NodeProto, values: set[str]) -> list[str]:
    """Return what a node reads of its graph: the bodies of If and Loop read without an input."""
    return [name for name in dict.fromkeys(names_read(node)) if name in values and name]


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
    read: list[str],
    types: dict[str, onnx.TypeProto],
    constants: dict[str, TensorProto],
) -> bytes:
    small = [
        constants[name]
        for name in read
        if name in constants and constants[name].ByteSize() <= _LARGEST_CONSTANT
    ]
    kept = {tensor.name for tensor in small}
    inputs = [helper.make_value_info(name, types[name]) for name in read if name not in kept]
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
    alone.functions.extend(model.functions)
    return alone.SerializeToString(deterministic=True)


def identity() -> bytes:
    """Return the smallest model: it opens a runtime before others are tried in it."""
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "i", value[:1], value[1:]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return model.SerializeToString(deterministic=True)
