"""Rewrites that no library here has: parallel products, chains of reshapes, zero initial states.

Each takes a model and returns a new one. Only the main graph is rewritten.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray

from sprat.graph.transforms import copy_of

if TYPE_CHECKING:
    import onnx_ir as ir

Floats = NDArray[np.float32]

#: ``Split`` takes the sizes as an input since this opset.
_SPLIT_OPSET = 13
#: Functions that kernels compute within the product before them: merged, they would cost a step.
_FUSED = frozenset({"Clip", "Relu"})
_RESHAPES = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})
#: Operators whose result is zero where their first input is.
_MOVES = frozenset({"Cast", "Expand", "Identity", "Slice", "Transpose"}) | _RESHAPES
#: Inputs of recurrent operators that hold the initial state, which is zero by default.
_STATES = {"GRU": (5,), "LSTM": (5, 6), "RNN": (5,)}


@dataclass(frozen=True)
class _Product:
    """A product with constant weights: ``MatMul``, ``MatMul`` and ``Add``, or ``Gemm``.

    Attributes:
        first: The node that reads the input.
        last: The node that gives the result.
        weight: ``[inputs, outputs]``.
        bias: ``[outputs]``, or None.
    """

    first: ir.Node
    last: ir.Node
    weight: Floats
    bias: Floats | None


def merge_products(model: onnx.ModelProto) -> onnx.ModelProto:
    """Compute products of one input with several weights as one product that is split.

    The queries, keys and values of an attention layer are such products.
    """
    import onnx_ir as ir

    tree = ir.from_proto(copy_of(model))
    if tree.graph.opset_imports.get("", 0) < _SPLIT_OPSET:
        return model
    groups: dict[tuple[object, ...], list[_Product]] = defaultdict(list)
    for node in tree.graph:
        found = _product(node)
        if found is not None:
            key = (node.inputs[0], node.op_type, found.bias is None, found.weight.shape[0])
            groups[key].append(found)
    for products in groups.values():
        if len(products) > 1:
            _merge(tree.graph, products)
    return _tidied(tree)


def _product(node: ir.Node) -> _Product | None:
    """Read a product whose result nothing but other products' successors would compute on."""
    if node.domain or node.op_type not in ("MatMul", "Gemm"):
        return None
    x, weight = node.inputs[0], _own_floats(node.inputs[1], 2)
    if x is None or _is_constant(x) or weight is None:
        return None
    found = _gemm(node, weight) if node.op_type == "Gemm" else _matmul(node, weight)
    if found is None or found.last.outputs[0].is_graph_output():
        return None
    users = (user for user, _ in found.last.outputs[0].uses())
    return None if any(user.op_type in _FUSED for user in users) else found


def _gemm(node: ir.Node, weight: Floats) -> _Product | None:
    if _number(node, "transA", 0) or any(_number(node, k, 1.0) != 1 for k in ("alpha", "beta")):
        return None
    if _number(node, "transB", 0):
        weight = weight.T
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return _Product(node, node, weight, None)
    bias = _own_floats(node.inputs[2], 1)
    if bias is None or len(bias) != weight.shape[1]:
        return None
    return _Product(node, node, weight, bias)


def _matmul(node: ir.Node, weight: Floats) -> _Product:
    """Read a ``MatMul``, and the ``Add`` of a bias where it is all that follows."""
    plain = _Product(node, node, weight, None)
    if not _is_single(node.outputs[0]):
        return plain
    ((user, index),) = node.outputs[0].uses()
    if user.domain or user.op_type != "Add":
        return plain
    bias = _own_floats(user.inputs[1 - index], 1)
    if bias is None or len(bias) != weight.shape[1]:
        return plain
    return _Product(node, user, weight, bias)


def _merge(graph: ir.Graph, products: Sequence[_Product]) -> None:
    """Put one product and a ``Split`` in the place of several products."""
    import onnx_ir as ir

    name = f"{products[0].last.outputs[0].name}_merged"
    weight = _initializer(graph, name, np.concatenate([p.weight for p in products], axis=1))
    inputs = [products[0].first.inputs[0], weight]
    biases = [p.bias for p in products if p.bias is not None]
    bias = _initializer(graph, f"{name}_bias", np.concatenate(biases)) if biases else None
    is_gemm = products[0].first.op_type == "Gemm"
    nodes = [ir.node(products[0].first.op_type, inputs + ([bias] if is_gemm and bias else []))]
    if bias is not None and not is_gemm:
        nodes.append(ir.node("Add", [nodes[0].outputs[0], bias]))
    sizes = _initializer(
        graph, f"{name}_sizes", np.array([p.weight.shape[1] for p in products], np.int64)
    )
    split = ir.node("Split", [nodes[-1].outputs[0], sizes], {"axis": -1}, num_outputs=len(products))
    nodes.append(split)
    for node in nodes:
        node.name = f"{name}_{node.op_type}"
        for i, value in enumerate(node.outputs):
            value.name = f"{node.name}_{i}"
    graph.insert_before(products[0].first, nodes)
    for product, output in zip(products, split.outputs, strict=True):
        old = product.last.outputs[0]
        output.type, output.shape = old.type, old.shape
        old.replace_all_uses_with(output)


def merge_reshapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace ``Reshape``, ``Squeeze``, ``Unsqueeze`` and ``Flatten`` in a row by one ``Reshape``.

    It is done where inferred shapes say the last one's shape but for at most one axis, such as that
    of a free batch.
    """
    import onnx_ir as ir

    tree = ir.from_proto(copy_of(model))
    for node in list(tree.graph):
        result, start = node.outputs[0], _start(node)
        target = _target(result)
        if start is None or start is node.inputs[0] or target is None or result.is_graph_output():
            continue
        shape = _initializer(tree.graph, f"{result.name}_shape", np.array(target, np.int64))
        merged = ir.node("Reshape", [start, shape], name=f"{node.name or result.name}_merged")
        merged.outputs[0].name = f"{result.name}_merged"
        merged.outputs[0].type, merged.outputs[0].shape = result.type, result.shape
        tree.graph.insert_before(node, [merged])
        result.replace_all_uses_with(merged.outputs[0])
    return _tidied(tree)


def _start(node: ir.Node) -> ir.Value | None:
    """Return what a row of reshapes begins with; the node's own input where it ends no row."""
    start = node.inputs[0] if node.inputs else None
    if not _is_reshape(node) or any(_is_reshape(user) for user, _ in node.outputs[0].uses()):
        return start
    while start is not None and _is_single(start):
        before = start.producer()
        if before is None or not _is_reshape(before):
            break
        start = before.inputs[0]
    return start


def _is_reshape(node: ir.Node) -> bool:
    return not node.domain and node.op_type in _RESHAPES


def _is_single(value: ir.Value) -> bool:
    return len(list(value.uses())) == 1 and not value.is_graph_output()


def _target(value: ir.Value) -> list[int] | None:
    """Return the shape that a ``Reshape`` to a value's shape is told; None where it is unknown."""
    if value.shape is None:
        return None
    sizes = [size if isinstance(size, int) else -1 for size in value.shape]
    return sizes if sizes.count(-1) <= 1 and 0 not in sizes else None


def drop_zero_states(model: onnx.ModelProto) -> onnx.ModelProto:
    """Leave out initial states of recurrent layers that are zero, which is what none means."""
    import onnx_ir as ir

    tree = ir.from_proto(copy_of(model))
    for node in tree.graph:
        for index in () if node.domain else _STATES.get(node.op_type, ()):
            if index < len(node.inputs) and _is_zero(node.inputs[index]):
                node.replace_input_with(index, None)
    return _tidied(tree)


def _is_zero(value: ir.Value | None) -> bool:
    """Say whether every number of a value is zero, whatever its shape is."""
    if value is None:
        return False
    if _is_constant(value):
        assert value.const_value is not None
        return not value.const_value.numpy().any()
    node = value.producer()
    if node is None or node.domain:
        return False
    if node.op_type == "ConstantOfShape":
        said = node.attributes.get("value")
        return said is None or not said.as_tensor().numpy().any()
    return node.op_type in _MOVES and _is_zero(node.inputs[0])


def _tidied(tree: ir.Model) -> onnx.ModelProto:
    import onnx_ir as ir
    from onnx_ir.passes import common

    common.RemoveUnusedNodesPass()(tree)
    return ir.to_proto(tree)


def _initializer(graph: ir.Graph, name: str, array: NDArray[np.generic]) -> ir.Value:
    """Add an initializer under a name that nothing in the graph has."""
    import onnx_ir as ir

    taken = {*graph.initializers, *(v.name for v in graph.inputs)}
    taken |= {v.name for node in graph for v in node.outputs}
    free = next(n for n in _numbered(name) if n not in taken)
    value = ir.val(free, const_value=ir.tensor(np.ascontiguousarray(array), name=free))
    graph.register_initializer(value)
    return value


def _numbered(name: str) -> Iterable[str]:
    yield name
    yield from (f"{name}_{i}" for i in range(1, 1 << 20))


def _is_constant(value: ir.Value) -> bool:
    known = value.is_initializer() and value.const_value is not None
    return known and not value.is_graph_input()


def _own_floats(value: ir.Value | None, rank: int) -> Floats | None:
    """Return an initializer of float32 that only one node reads, or None."""
    if value is None or not _is_constant(value) or len(list(value.uses())) != 1:
        return None
    assert value.const_value is not None
    array = value.const_value.numpy()
    return array if array.dtype == np.float32 and array.ndim == rank else None


def _number(node: ir.Node, name: str, default: float) -> float:
    found = node.attributes.get(name)
    return default if found is None else float(found.value)
