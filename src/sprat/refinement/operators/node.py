"""A node, read once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Inputs = Sequence[Tensor | None]


@dataclass(frozen=True)
class Node:
    """A node, read once.

    Attributes:
        operator: Of ONNX.
        name: Of the node.
        inputs: Names; empty where an optional one is left out.
        outputs: Names.
        flags: Its attributes; text as ``str``, tensors as torch's.
        opset: Of the model.
    """

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    flags: dict[str, Any]
    opset: int


#: Raises ``NotImplementedError`` with the attribute that it cannot do.
Operator = Callable[[Inputs, Node], Tensor | tuple[Tensor, ...]]


def first(given: Inputs) -> Tensor:
    """Return the first input, which is always there."""
    return there(given, 0)


def there(given: Inputs, index: int) -> Tensor:
    """Return an input that ONNX says is always there."""
    value = given[index]
    assert value is not None
    return value


def optional(given: Inputs, index: int) -> Tensor | None:
    """Return an input that may be left out."""
    return given[index] if index < len(given) else None


def numbers(given: Inputs, index: int, node: Node, name: str) -> list[int] | None:
    """Return integers that are an attribute in old opsets and an input in new ones."""
    if name in node.flags:
        return [int(v) for v in node.flags[name]]
    value = optional(given, index)
    return None if value is None else [int(v) for v in value.reshape(-1).tolist()]
