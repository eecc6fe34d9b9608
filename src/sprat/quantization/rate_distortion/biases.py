"""Biases: which initializer is a layer's own, and floats of so few bits that they cost half."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from sprat.model.nodes import all_nodes


class Biases:
    """Finds the biases of a model's layers."""

    def __init__(self, model: onnx.ModelProto) -> None:
        """Read a model once."""
        nodes = list(all_nodes(model.graph))
        self._uses = Counter(name for node in nodes for name in node.input)
        self._uses.update(output.name for output in model.graph.output)
        self._adds = {
            name: node for node in nodes if node.op_type == "Add" for name in node.input if name
        }
        self._shapes = {
            tensor.name: values.shape
            for tensor in model.graph.initializer
            if tensor.data_type == onnx.TensorProto.FLOAT
            and np.isfinite(values := numpy_helper.to_array(tensor)).all()
        }

    def of(self, node: onnx.NodeProto, channels: int) -> str:
        """Return the initializer that is added to a node's output, channel by channel.

        Args:
            node: A Conv, Gemm or MatMul.
            channels: Of its output.

        Returns:
            Its name; empty where there is none, or where it or the weight has another use.
        """
        name = self._added(node)
        alone = self._uses[name] == 1 and self._uses[node.input[1]] == 1
        shape = self._shapes.get(name, ())
        along = shape[-1:] == (channels,) and math.prod(shape) == channels
        return name if alone and along else ""

    def _added(self, node: onnx.NodeProto) -> str:
        flags: dict[str, Any] = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type != "MatMul":
            scaled = flags.get("alpha", 1.0) != 1.0 or flags.get("beta", 1.0) != 1.0
            return node.input[2] if len(node.input) > 2 and not scaled else ""
        add = self._adds.get(node.output[0])
        if add is None or self._uses[node.output[0]] > 1:
            return ""
        return add.input[1] if add.input[0] == node.output[0] else add.input[0]


def shorten(
    values: NDArray[np.floating],
    bits: int = 8,
    *,
    rounding: Literal["nearest", "up"] = "nearest",
) -> NDArray[np.float32]:
    """Round to a few bits of mantissa; 8 are those of bfloat16, an error of 0.2 % to the nearest.

    The tensor stays float32, which every runtime reads; with 8 bits half its bytes are zero, which
    compress to next to nothing.

    Args:
        values: Finite floats of any shape.
        bits: Of the mantissa, its leading one counted.
        rounding: ``up`` is away from zero: a step must not become too small for its integers.

    Returns:
        float32 of the same shape; the low ``24 - bits`` bits of each are zero.
    """
    mantissa, exponent = np.frexp(np.asarray(values, dtype=np.float64))
    scaled = mantissa * 2**bits
    if rounding == "nearest":
        whole = np.rint(scaled)
    else:
        whole = np.copysign(np.ceil(np.abs(scaled)), scaled)
    return np.asarray(np.ldexp(whole / 2**bits, exponent), dtype=np.float32)
