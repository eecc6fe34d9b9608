"""Weight-only integers: initializers become int8 with a DequantizeLinear in front of their users.

The form is that of the ONNX operator ``DequantizeLinear`` (opset 13 and later, one scale per
slice along ``axis``), which every ONNX Runtime loads, ONNX Runtime Web included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from sprat.quantization.configs import Weights

#: Smaller tensors stay float: their scales would cost as much as they save.
MIN_ELEMENTS = 1024
_AXES = {"Conv": 0, "ConvTranspose": 1, "Gather": 0}


@dataclass(frozen=True)
class IntegerTensor:
    """A weight as integers times scales.

    Attributes:
        values: int8, in the weight's own shape.
        scales: float32 ``[values.shape[axis]]``, or ``[]`` where one serves the whole tensor.
        axis: The axis along which the scales run.
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float32]
    axis: int


def weight_axes(model: onnx.ModelProto) -> dict[str, int]:
    """Find the float32 initializers worth quantizing and the axis of their output channels.

    Args:
        model: Any model.

    Returns:
        Initializer name to axis, in the order of the model's initializers.
    """
    sizes = {
        t.name: list(t.dims)
        for t in model.graph.initializer
        if t.data_type == onnx.TensorProto.FLOAT
        and len(t.dims) >= 2
        and np.prod(t.dims, dtype=np.int64) >= MIN_ELEMENTS
    }
    axes: dict[str, int] = {}
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            if name in sizes and name not in axes:
                axes[name] = _axis(node, position, len(sizes[name]))
    return {name: axes[name] for name in sizes if name in axes}


def _axis(node: onnx.NodeProto, position: int, rank: int) -> int:
    if node.op_type == "Gemm" and position == 1:
        flags = {a.name: a.i for a in node.attribute}
        return 0 if flags.get("transB", 0) else 1
    if node.op_type == "MatMul":
        return rank - 1 if position == 1 else rank - 2
    return _AXES.get(node.op_type, 0)


def round_per_channel(weight: NDArray[np.float32], axis: int) -> IntegerTensor:
    """Round to nearest with one symmetric scale per channel, ``max|w| / 127``.

    Args:
        weight: float32, any shape.
        axis: The channels' axis.

    Returns:
        The integers and their scales.
    """
    others = tuple(i for i in range(weight.ndim) if i != axis)
    largest = np.abs(weight).max(axis=others)
    scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
    values = np.clip(np.rint(weight / scales.reshape(shape)), -127, 127).astype(np.int8)
    return IntegerTensor(values, scales, axis)


def with_integers(model: onnx.ModelProto, weights: Mapping[str, IntegerTensor]) -> onnx.ModelProto:
    """Return a copy in which some initializers are stored as integers.

    Args:
        model: Opset 13 or later.
        weights: Initializer name to its integers.

    Returns:
        The copy; nodes keep reading the old names, which now come from DequantizeLinear.
    """
    kept = [t for t in model.graph.initializer if t.name not in weights]
    out = onnx.ModelProto()
    out.CopyFrom(model)
    del out.graph.initializer[:]
    out.graph.initializer.extend(kept)
    inputs = [v for v in model.graph.input if v.name not in weights]
    del out.graph.input[:]
    out.graph.input.extend(inputs)
    nodes = []
    for name, tensor in weights.items():
        integers, scales = f"{name}_quantized", f"{name}_scale"
        out.graph.initializer.append(numpy_helper.from_array(tensor.values, integers))
        out.graph.initializer.append(numpy_helper.from_array(tensor.scales, scales))
        node = helper.make_node(
            "DequantizeLinear", [integers, scales], [name], name=f"{name}_DequantizeLinear"
        )
        if tensor.scales.ndim:
            node.attribute.append(helper.make_attribute("axis", tensor.axis))
        nodes.append(node)
    rest = list(out.graph.node)
    del out.graph.node[:]
    out.graph.node.extend([*nodes, *rest])
    return out


def quantize_weights(
    model: onnx.ModelProto,
    config: Weights,
    rounding: Callable[[NDArray[np.float32], int], IntegerTensor] = round_per_channel,
) -> onnx.ModelProto:
    """Quantize the weights alone.

    Args:
        model: Opset 13 or later.
        config: What stays float.
        rounding: Turns a weight and its channel axis into integers.

    Returns:
        The quantized model.
    """
    tensors = {t.name: t for t in model.graph.initializer}
    chosen = {
        name: rounding(numpy_helper.to_array(tensors[name]), axis)
        for name, axis in weight_axes(model).items()
        if name not in config.exclude
    }
    return with_integers(model, chosen)
