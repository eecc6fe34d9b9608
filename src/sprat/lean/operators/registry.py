"""Which function lowers which operator."""

from __future__ import annotations

from collections.abc import Callable

from sprat.lean.builder import Builder
from sprat.lean.nodes import BROKEN, Node

Lower = Callable[[Builder, Node], None]

#: By operator; filled by :func:`lowers`.
OPERATORS: dict[str, Lower] = {}


def lowers(*names: str) -> Callable[[Lower], Lower]:
    """Say which operators a function lowers."""

    def note(function: Lower) -> Lower:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return note


def axis_of(node: Node, axis: int, rank: int, attribute: str = "axis") -> int:
    """Return an axis counted from the front.

    Raises:
        LeanUnsupportedError: There is no such axis.
    """
    if not -rank <= axis < rank:
        what = f"{axis} is no axis of a tensor that has {rank}"
        raise node.refused(what, f"attribute {attribute}", BROKEN)
    return axis % rank if rank else 0
