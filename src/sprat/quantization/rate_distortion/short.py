"""Floats of few bits: steps and biases with so short a mantissa that half their bytes are zero.

Zero bytes compress to next to nothing, and the tensor stays float32, which every runtime reads. The
values are those of bfloat16: 8 bits of mantissa, an error of 0.2 % at most.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

_MANTISSA = 1 << 8


def shorten(
    values: NDArray[np.floating], rounding: Literal["nearest", "up"] = "nearest"
) -> NDArray[np.float32]:
    """Round to 8 bits of mantissa.

    Args:
        values: Finite floats of any shape.
        rounding: ``up`` is away from zero: a step must not become too small for its integers.

    Returns:
        float32 of the same shape; the low 16 bits of each are zero.
    """
    mantissa, exponent = np.frexp(np.asarray(values, dtype=np.float64))
    scaled = mantissa * _MANTISSA
    if rounding == "nearest":
        whole = np.rint(scaled)
    else:
        whole = np.copysign(np.ceil(np.abs(scaled)), scaled)
    return np.asarray(np.ldexp(whole / _MANTISSA, exponent), dtype=np.float32)


def short_biases(model: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    """Shorten the biases of Conv and Gemm, and those that are added to a MatMul.

    Args:
        model: Any model.

    Returns:
        Initializer name to its new values; one that has another use, or is not finite, is left out.
    """
    graph = model.graph
    products = {o for node in graph.node if node.op_type == "MatMul" for o in node.output}
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(output.name for output in graph.output)
    found: Counter[str] = Counter()
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            found.update(node.input[2:3])
        elif node.op_type == "Add" and products & set(node.input):
            found.update(set(node.input) - products)
    return {
        tensor.name: shorten(values)
        for tensor in graph.initializer
        if found[tensor.name]
        and found[tensor.name] == uses[tensor.name]
        and tensor.data_type == onnx.TensorProto.FLOAT
        and np.isfinite(values := numpy_helper.to_array(tensor)).all()
    }
