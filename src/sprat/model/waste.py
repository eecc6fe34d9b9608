"""What cleaning a graph would remove."""

from __future__ import annotations

from collections import Counter

import onnx

from sprat.files import sha256
from sprat.model.nodes import all_nodes, subgraphs, tensor_bytes

#: Smaller initializers are not worth a line.
_SMALL = 64


def find_waste(model: onnx.ModelProto) -> tuple[str, ...]:
    """Find unfolded BatchNorm and other things that cost bytes or time for nothing.

    Args:
        model: Any model.

    Returns:
        A line for each kind of waste.
    """
    lines = (_norms(model.graph), *_nops(model.graph), _unused(model.graph), _twice(model.graph))
    return tuple(line for line in lines if line)


def _norms(graph: onnx.GraphProto) -> str:
    norms = [n for n in graph.node if n.op_type == "BatchNormalization"]
    users = Counter(name for node in all_nodes(graph) for name in node.input)
    foldable_behind = {
        name: users[name] == 1
        for node in graph.node
        if node.op_type in ("Conv", "ConvTranspose", "Gemm")
        for name in node.output
    }
    foldable = sum(foldable_behind.get(n.input[0], False) for n in norms)
    if not norms:
        return ""
    return f"{len(norms)} BatchNormalization, {foldable} foldable into the layer before"


def _nops(graph: onnx.GraphProto) -> list[str]:
    kinds = Counter(n.op_type for n in graph.node)
    lines = [
        f"{kinds[kind]} {kind} node{'s' if kinds[kind] > 1 else ''} doing nothing"
        for kind in ("Identity", "Dropout")
        if kinds[kind]
    ]
    if kinds["Constant"]:
        lines.append(f"{kinds['Constant']} Constant nodes that could be initializers")
    return lines


def _unused(graph: onnx.GraphProto) -> str:
    used = _used(graph)
    unused = [t for t in graph.initializer if t.name not in used]
    if not unused:
        return ""
    size = sum(tensor_bytes(t) for t in unused)
    return f"{len(unused)} unused initializers, {size:,} bytes"


def _used(graph: onnx.GraphProto) -> set[str]:
    used = {v.name for v in graph.output}
    for node in graph.node:
        used.update(node.input)
        for inner in subgraphs(node):
            used |= _used(inner)
    return used


def _twice(graph: onnx.GraphProto) -> str:
    sizes: dict[tuple[int, tuple[int, ...], str], int] = {}
    total = 0
    for tensor in graph.initializer:
        size = tensor_bytes(tensor)
        if size < _SMALL:
            continue
        key = (tensor.data_type, tuple(tensor.dims), _digest(tensor))
        total += size if key in sizes else 0
        sizes[key] = size
    return f"initializers that are there twice, {total:,} bytes" if total else ""


def _digest(tensor: onnx.TensorProto) -> str:
    if tensor.raw_data:
        return sha256(tensor.raw_data)
    copy = onnx.TensorProto()
    copy.CopyFrom(tensor)
    copy.ClearField("name")
    return sha256(copy.SerializeToString(deterministic=True))
