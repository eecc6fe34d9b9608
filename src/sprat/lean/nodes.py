"""A node of the graph as the compiler reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import helper

from sprat.errors import LeanUnsupportedError
from sprat.model.nodes import printable, shown

#: What to do where the lean runtime cannot do something.
ELSEWHERE = "Use ONNX Runtime Web for this model."
#: What to do where no runtime could: the node contradicts itself.
BROKEN = "The model is wrong here: export it again."
#: What to do where no runtime could: the node does not fit the shape of what it is given.
MISFIT = "Give the input a shape that the model takes (--shape), or export the model again."


@dataclass(frozen=True)
class Node:
    """One node.

    Attributes:
        name: Its name, or its operator and number.
        op: The operator.
        opset: Version of the operator set that it comes from.
        inputs: Names of its inputs; empty for those left out.
        outputs: Names of its outputs.
        attributes: Attributes by name.
        proto: The node itself.
    """

    name: str
    op: str
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    proto: onnx.NodeProto

    def has(self, index: int) -> bool:
        """Say whether an input is given."""
        return index < len(self.inputs) and self.inputs[index] != ""

    def number(self, name: str, default: float) -> float:
        """Return an attribute that is a number."""
        return float(self.attributes.get(name, default))

    def integer(self, name: str, default: int) -> int:
        """Return an attribute that is a whole number."""
        return int(self.attributes.get(name, default))

    def integers(self, name: str, default: Sequence[int]) -> list[int]:
        """Return an attribute that is a list of whole numbers."""
        return [int(v) for v in self.attributes.get(name, default)]

    def text(self, name: str, default: str) -> str:
        """Return an attribute that is text."""
        value = self.attributes.get(name, default)
        return value.decode(errors="replace") if isinstance(value, bytes) else str(value)

    def refused(
        self, what: str, attribute: str = "", hint: str = ELSEWHERE
    ) -> LeanUnsupportedError:
        """Return the error that says why the lean runtime cannot do this node.

        Args:
            what: The reason, with what was got and what would do.
            attribute: The attribute or input that it is about, if any.
            hint: What to do about it; another hint than to use another runtime means that the
                reason is not the lean runtime's.
        """
        part = f", {attribute}" if attribute else ""
        place = " in the lean runtime" if hint == ELSEWHERE else ""
        return LeanUnsupportedError(
            f"{what}{place}.",
            where=f"node {shown(self.name)}, operator {printable(self.op)}{part}",
            hint=hint,
        )


def read_nodes(model: onnx.ModelProto) -> list[Node]:
    """Return the main graph's nodes in order.

    Raises:
        LeanUnsupportedError: A node is of another operator set than ONNX's own.
    """
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    found = []
    for index, proto in enumerate(model.graph.node):
        node = Node(
            name=proto.name or f"{proto.op_type}_{index}",
            op=proto.op_type,
            opset=opsets.get("", opsets.get("ai.onnx", 1)),
            inputs=tuple(proto.input),
            outputs=tuple(proto.output),
            attributes={a.name: helper.get_attribute_value(a) for a in proto.attribute},
            proto=proto,
        )
        if proto.domain not in ("", "ai.onnx"):
            raise node.refused(f"the operator set {shown(proto.domain)} is not there")
        found.append(node)
    return found
