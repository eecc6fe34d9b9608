"""Names and sizes of a model's parts."""

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


def dtype_name(code: int) -> str:
    """Return an ONNX element type in numpy's words: 1 is ``float32``, 2 is ``uint8``."""
    known = {int(v): name for name, v in onnx.TensorProto.DataType.items()}
    name = known.get(code, "?").lower()
    return {"float": "float32", "double": "float64"}.get(name, name)


def initializer_bytes(model: onnx.ModelProto) -> dict[str, int]:
    """Return the bytes of each initializer."""
    return {
        t.name: t.ByteSize() if not t.raw_data else len(t.raw_data) for t in model.graph.initializer
    }


def printable(text: str) -> str:
    """Return a stranger's text without characters that could move a cursor."""
    return "".join(c if c.isprintable() else "?" for c in text)
