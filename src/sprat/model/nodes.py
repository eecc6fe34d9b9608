"""Names, sizes and parts of a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx


def name_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy in which every node has a unique name, so that it can be spoken of."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    seen: set[str] = set()
    for i, node in enumerate(out.graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{i}"
        seen.add(node.name)
    return out


def dtype_name(code: int) -> str:
    """Return an ONNX element type in numpy's words: 1 is ``float32``, 2 is ``uint8``."""
    known = {int(v): name for name, v in onnx.TensorProto.DataType.items()}
    name = known.get(code, "?").lower()
    return {"float": "float32", "double": "float64"}.get(name, name)


def weight_tensors(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Return the main graph's weights by name: initializers, and the tensors of Constant nodes."""
    return _graph_weights(model.graph)


def inner_weights(model: onnx.ModelProto) -> tuple[onnx.TensorProto, ...]:
    """Return the weights in the bodies of If, Loop and Scan, which no method changes."""
    bodies = (graph for node in all_nodes(model.graph) for graph in subgraphs(node))
    return tuple(tensor for graph in bodies for tensor in _graph_weights(graph).values())


def _graph_weights(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    constants = {
        node.output[0]: attribute.t
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    return {t.name: t for t in graph.initializer} | constants


def tensor_bytes(tensor: onnx.TensorProto) -> int:
    """Return the bytes of a tensor's data."""
    return len(tensor.raw_data) or tensor.ByteSize()


def printable(text: str) -> str:
    """Return a stranger's text without characters that could move a cursor."""
    return "".join(c if c.isprintable() else "?" for c in text)


def shown(text: str) -> str:
    """Return a stranger's name for an error message: quoted, printable, at most 80 characters."""
    return repr(printable(text if len(text) <= 80 else f"{text[:79]}…"))


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs that a node holds: the bodies of If, Loop and Scan."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def all_nodes(nodes: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph or function, those of subgraphs behind their holder."""
    for node in nodes.node:
        yield node
        for inner in subgraphs(node):
            yield from all_nodes(inner)


def names_read(node: onnx.NodeProto) -> Iterator[str]:
    """Yield all names that a node reads, the bodies of If, Loop and Scan included."""
    yield from node.input
    for graph in subgraphs(node):
        for inner in graph.node:
            yield from names_read(inner)
        for value in graph.output:
            yield value.name


def all_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield every tensor of a model: initializers and attributes, subgraphs and functions too."""
    yield from _tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
        for inner in subgraphs(node):
            yield from _tensors(inner)
