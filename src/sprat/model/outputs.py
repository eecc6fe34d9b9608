"""Drop outputs of a model, and all that served them alone."""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import Any

import onnx

from sprat.errors import OptionError
from sprat.model.nodes import names_read


def keep_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Return a model with some of its outputs, without the nodes and weights of the others.

    Inputs stay, also those that nothing reads any more: a page need not change what it gives.

    Args:
        model: The model; it is not changed.
        names: The outputs that stay, in the model's order.

    Raises:
        OptionError: No output is named, or one that the model does not have.
    """
    known = [output.name for output in model.graph.output]
    missing = [name for name in names if name not in known]
    if missing or not names:
        what = f"there is no output {missing[0]!r}" if missing else "no output is selected"
        raise OptionError(
            f"{what}; the model has {', '.join(known[:20])}.",
            where="--only-outputs",
            hint="Say with --output which outputs stay.",
        )
    out = onnx.ModelProto()
    out.CopyFrom(model)
    graph = out.graph
    outputs = [output for output in model.graph.output if output.name in set(names)]
    del graph.output[:]
    graph.output.extend(outputs)
    needed = {output.name for output in outputs}
    kept = []
    for node in reversed(model.graph.node):
        if not needed.isdisjoint(node.output):
            needed.update(names_read(node))
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    _drop_values(graph, needed)
    return out


def _drop_values(graph: onnx.GraphProto, needed: set[str]) -> None:
    """Remove the weights and the notes on values that no node reads or makes any more."""
    made = needed | {name for node in graph.node for name in node.output}
    lost = {t.name for t in graph.initializer} - needed
    _keep(graph.initializer, [t.name in needed for t in graph.initializer])
    _keep(graph.sparse_initializer, [t.values.name in needed for t in graph.sparse_initializer])
    _keep(graph.value_info, [v.name in made for v in graph.value_info])
    # Old models list their weights as inputs, too.
    _keep(graph.input, [v.name not in lost for v in graph.input])


def _keep(field: MutableSequence[Any], stays: list[bool]) -> None:
    for i in reversed(range(len(stays))):
        if not stays[i]:
            del field[i]
