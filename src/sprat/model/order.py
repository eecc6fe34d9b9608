"""Nodes in the order that the ONNX specification asks for: each after those that it needs."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

import onnx

from sprat.model.nodes import names_read


def sort_nodes(model: onnx.ModelProto) -> None:
    """Put the main graph's nodes in order where they are not, in place.

    Some converters (float16 among them) add nodes at the end, and runtimes that sort by
    themselves take such files. Nodes keep their order as far as it allows; a graph with a cycle
    stays as it is, for the checker to refuse.

    Args:
        model: Any model that could be parsed.
    """
    nodes = list(model.graph.node)
    makers = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    needs = {
        i: {makers[name] for name in names_read(node) if name in makers} - {i}
        for i, node in enumerate(nodes)
    }
    if all(max(before, default=-1) < i for i, before in needs.items()):
        return
    try:
        order = list(_stable(needs))
    except CycleError:
        return
    del model.graph.node[:]
    model.graph.node.extend(nodes[i] for i in order)


def _stable(needs: dict[int, set[int]]) -> Iterator[int]:
    """Yield the indices sorted by need, the lowest of those that are ready first."""
    sorter = TopologicalSorter(needs)
    sorter.prepare()
    ready = list(sorter.get_ready())
    heapq.heapify(ready)
    while ready:
        index = heapq.heappop(ready)
        yield index
        sorter.done(index)
        for freed in sorter.get_ready():
            heapq.heappush(ready, freed)
