"""Names of nodes."""

from __future__ import annotations

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
