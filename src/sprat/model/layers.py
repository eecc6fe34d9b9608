"""Layers: nodes with the weights that reach them, directly or through a dequantization."""

from __future__ import annotations

import onnx

from sprat.model.inspection import LayerInfo
from sprat.model.nodes import printable, tensor_bytes, weight_tensors

#: Weights of nodes without multiply-adds make a layer only from this many bytes on.
_SMALL = 4096


def weights_of_nodes(model: onnx.ModelProto) -> dict[int, tuple[str, ...]]:
    """Find the weights that reach each node that depends on the input.

    A weight passes nodes that compute constants, such as DequantizeLinear, Cast or Transpose, so
    that a quantized convolution is known by its integers.

    Args:
        model: Any model.

    Returns:
        Index of the node in the graph to the names of its weights; nodes without are left out.
    """
    constant: dict[str, tuple[str, ...]] = {name: (name,) for name in weight_tensors(model)}
    found = {}
    for i, node in enumerate(model.graph.node):
        inputs = [name for name in node.input if name]
        weights = dict.fromkeys(w for name in inputs for w in constant.get(name, ()))
        if inputs and all(name in constant for name in inputs):
            constant.update(dict.fromkeys(node.output, tuple(weights)))
        elif weights:
            found[i] = tuple(weights)
    return found


def find_layers(model: onnx.ModelProto, macs: dict[int, int]) -> tuple[LayerInfo, ...]:
    """List the layers, largest first.

    Args:
        model: Any model.
        macs: Multiply-adds by index of the node.

    Returns:
        A layer for each node with weights.
    """
    tensors = weight_tensors(model)
    sizes = {name: tensor_bytes(t) for name, t in tensors.items()}
    all_bytes, all_macs = max(1, sum(sizes.values())), max(1, sum(macs.values()))
    layers = []
    for i, weights in weights_of_nodes(model).items():
        largest = max(weights, key=lambda name: sizes[name])
        if i not in macs and sizes[largest] < _SMALL:
            continue
        node = model.graph.node[i]
        size = sum(sizes[w] for w in weights)
        layers.append(
            LayerInfo(
                name=printable(node.name or largest),
                operator=printable(node.op_type),
                weight=printable(largest),
                shape=tuple(tensors[largest].dims),
                bytes=size,
                multiply_adds=macs.get(i, 0),
                bytes_share=size / all_bytes,
                multiply_adds_share=macs.get(i, 0) / all_macs,
            )
        )
    return tuple(sorted(layers, key=lambda layer: (-layer.bytes, layer.name)))
