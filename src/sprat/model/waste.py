"""What cleaning a graph would remove."""

from __future__ import annotations

from collections import Counter

import onnx

_NOTHING = {"Identity", "Dropout"}


def find_waste(model: onnx.ModelProto, sizes: dict[str, int]) -> tuple[str, ...]:
    """Find unfolded BatchNorm and other things that cost bytes or time for nothing.

    Args:
        model: Any model.
        sizes: Bytes by initializer.

    Returns:
        A line for each kind of waste.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    kinds = Counter(n.op_type for n in graph.node)
    norms = [n for n in graph.node if n.op_type == "BatchNormalization"]
    foldable = sum(
        1 for n in norms if n.input[0] in makers and makers[n.input[0]].op_type == "Conv"
    )
    lines = []
    if norms:
        lines.append(f"{len(norms)} BatchNormalization, {foldable} of them foldable into a Conv")
    lines += [f"{kinds[k]} {k} nodes that do nothing" for k in sorted(_NOTHING) if kinds[k]]
    if kinds["Constant"]:
        lines.append(f"{kinds['Constant']} Constant nodes that could be initializers")
    used = {name for node in graph.node for name in node.input}
    used.update(v.name for v in graph.output)
    unused = [name for name in sizes if name not in used and not _in_subgraph(graph)]
    if unused:
        total = sum(sizes[name] for name in unused)
        lines.append(f"{len(unused)} unused initializers, {total:,} bytes")
    same = Counter(t.SerializeToString() for t in _without_names(graph) if t.ByteSize() > 64)
    twice = sum(len(content) * (count - 1) for content, count in same.items())
    if twice:
        lines.append(f"initializers that are there twice, {twice:,} bytes")
    return tuple(lines)


def _in_subgraph(graph: onnx.GraphProto) -> bool:
    """A subgraph may use an outer initializer; such graphs are not judged."""
    return any(a.HasField("g") or a.graphs for n in graph.node for a in n.attribute)


def _without_names(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    copies = []
    for tensor in graph.initializer:
        copy = onnx.TensorProto()
        copy.CopyFrom(tensor)
        copy.ClearField("name")
        copies.append(copy)
    return copies
