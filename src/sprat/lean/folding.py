"""What is known before the model runs: computed once, while it is compiled.

Arrays are brought into C order by ``np.asarray``: ``np.ascontiguousarray`` gives a scalar an axis.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from sprat.lean.nodes import BROKEN, Node
from sprat.lean.values import Array, Constant, Value
from sprat.model.nodes import subgraphs

#: Elements of a computed constant; a model that asks for more is no small one.
_LARGEST = 1 << 24
_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform"}
    | {"RandomUniformLike"}
)
_FOUR_BITS = (onnx.TensorProto.INT4, onnx.TensorProto.UINT4)


def read_tensor(tensor: onnx.TensorProto) -> Constant:
    """Return an initializer as a constant; packed 4-bit integers stay 4 bits in the file."""
    values = np.asarray(numpy_helper.to_array(tensor))
    if tensor.data_type in _FOUR_BITS:
        kind = np.int8 if tensor.data_type == onnx.TensorProto.INT4 else np.uint8
        return Constant(values.astype(kind, order="C"), bits=4)
    return Constant(np.asarray(values, order="C"))


def dequantized(node: Node, values: list[Constant | None]) -> Constant:
    """Return stored integers with their scales, without multiplying them out.

    Args:
        node: A DequantizeLinear.
        values: Its inputs: the integers, scales and zero points.

    Raises:
        LeanUnsupportedError: The scales are not one, one a channel, or one a block.
    """
    x, scale, zero = (*values, None)[:3]
    assert x is not None
    assert scale is not None
    shape = x.shape
    scales = scale.expanded.astype(np.float32)
    zeros = None if zero is None or not zero.values.any() else zero.values.astype(np.float32)
    block = node.integer("block_size", 0)
    if block:
        axis = node.integer("axis", 1) % max(len(shape), 1)
        return Constant(_blocked(x, scales, zeros, axis, block))
    if scales.size > 1:
        axis = node.integer("axis", 1)
        axis = axis + len(shape) if axis < 0 else axis
        if axis >= len(shape) or scales.shape != (shape[axis],):
            what = f"scales of shape {list(scales.shape)} do not fit axis {axis} of {list(shape)}"
            raise node.refused(what, "input x_scale", BROKEN)
        form = (-1, *[1] * (len(shape) - axis - 1))
        scales = scales.reshape(form)
        zeros = None if zeros is None else zeros.reshape(form)
    wide = np.broadcast_to(scales, shape)
    return Constant(
        x.values, wide, None if zeros is None else np.broadcast_to(zeros, shape), x.bits
    )


def _blocked(x: Constant, scales: Array, zeros: Array | None, axis: int, block: int) -> Array:
    count = x.shape[axis]
    wide = np.repeat(scales, block, axis=axis).take(range(count), axis=axis)
    values = x.values.astype(np.float32)
    if zeros is not None:
        values = values - np.repeat(zeros, block, axis=axis).take(range(count), axis=axis)
    return np.ascontiguousarray(values * wide, dtype=np.float32)


def shape_node(node: Node, value: Value) -> Constant | None:
    """Return what Shape and Size say of a value; None for other nodes."""
    if node.op == "Size":
        return Constant(np.asarray(math.prod(value.shape), np.int64))
    if node.op != "Shape":
        return None
    rank = len(value.shape)
    start, end = node.integer("start", 0), node.integer("end", rank)
    return Constant(np.asarray(value.shape[start:end], np.int64))


def evaluate(node: Node, values: list[Constant | None]) -> list[Constant]:
    """Compute a node whose inputs are all known, with ONNX's reference implementation.

    Raises:
        LeanUnsupportedError: It is drawn at random, has a graph of its own, cannot be computed, or
            is absurdly large.
    """
    if node.op in _RANDOM or any(subgraphs(node.proto)):
        raise node.refused("control flow and random numbers are not there")
    arrays = {f"i{i}": v.expanded for i, v in enumerate(values) if v is not None}
    _check_size(node, list(arrays.values()))
    proto = onnx.NodeProto()
    proto.CopyFrom(node.proto)
    del proto.input[:], proto.output[:]
    proto.input.extend("" if v is None else f"i{i}" for i, v in enumerate(values))
    proto.output.extend(f"o{i}" if name else "" for i, name in enumerate(node.outputs))
    named = [name for name in proto.output if name]
    graph = helper.make_graph(
        [proto],
        "folded",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in arrays.items()
        ],
        [onnx.ValueInfoProto(name=n) for n in named],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", node.opset)])
    try:
        found = ReferenceEvaluator(model).run(None, arrays)
        made = dict(zip(named, found, strict=True))
        return [
            Constant(np.asarray(made[n], order="C")) if n else Constant(np.zeros(0))
            for n in proto.output
        ]
    except Exception as error:  # the reference implementation raises many unrelated classes
        raise node.refused(f"it cannot be computed from its constant inputs ({error})") from error


def _check_size(node: Node, arrays: list[Array]) -> None:
    """Refuse a result that its inputs make absurdly large."""
    total = float(sum(a.size for a in arrays))
    if node.op in ("ConstantOfShape", "Expand", "Tile", "Resize", "Upsample", "Pad", "OneHot"):
        for array in arrays:
            if array.size <= 64 and np.issubdtype(array.dtype, np.number):
                total *= max(1.0, float(np.prod(np.abs(array.astype(np.float64)) + 1)))
    if node.op == "Range" and len(arrays) == 3:
        start, limit, delta = (float(a.reshape(-1)[0]) for a in arrays)
        total = abs(limit - start) / (abs(delta) or 1e-30)
    if not total <= _LARGEST:
        raise node.refused(
            f"it makes a constant of about {total:.0e} numbers; {_LARGEST:,} are the most"
        )
