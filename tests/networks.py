"""Small real networks for the tests of cleaning and quantizing, always the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def build(
    nodes: list[onnx.NodeProto],
    weights: dict[str, Any],
    inputs: dict[str, list[Any]],
    outputs: dict[str, list[Any]],
    opset: int = 17,
) -> onnx.ModelProto:
    """Make a checked float32 model."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "small",
        [value(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [value(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(w), name) for name, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def _normal(seed: int, *shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    fan = float(np.prod(shape[1:])) if len(shape) > 1 else 100.0
    values = np.random.default_rng(seed).standard_normal(shape) / fan**0.5
    return np.asarray(values, dtype=np.float32)


def cnn(classes: int = 1, opset: int = 17, group: int = 1) -> onnx.ModelProto:
    """Conv, BatchNorm, Relu, Conv, Relu, pool, Gemm: ``x [N, 3, 16, 16]`` to ``y [N, classes]``."""
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c1", "g", "o", "m", "v"], ["n1"], name="norm"),
        node("Relu", ["n1"], ["r1"], name="relu1"),
        node(
            "Conv",
            ["r1", "w2", "b2"],
            ["c2"],
            name="conv2",
            pads=[1, 1, 1, 1],
            strides=[2, 2],
            group=group,
        ),
        node("Relu", ["c2"], ["r2"], name="relu2"),
        node("GlobalAveragePool", ["r2"], ["p"], name="pool"),
        node("Flatten", ["p"], ["f"], name="flatten"),
        node("Gemm", ["f", "w3", "b3"], ["y"], name="head", transB=1),
    ]
    weights = {
        "w1": _normal(1, 16, 3, 3, 3),
        "b1": _normal(2, 16),
        "g": np.full(16, 1.5, np.float32),
        "o": _normal(3, 16),
        "m": _normal(4, 16),
        "v": np.full(16, 0.5, np.float32),
        "w2": _normal(5, 32, 16 // group, 3, 3),
        "b2": _normal(6, 32),
        "w3": 4 * _normal(7, classes, 32),
        "b3": np.zeros(classes, np.float32),
    }
    return build(nodes, weights, {"x": ["n", 3, 16, 16]}, {"y": ["n", classes]}, opset)


def table(rows: int) -> onnx.ModelProto:
    """Gather, sum: numbers of words ``x [1, 6]`` of a vocabulary to ``y [1, 5]``."""
    nodes = [
        helper.make_node("Gather", ["w", "x"], ["g"], name="table"),
        helper.make_node("ReduceMean", ["g"], ["y"], name="mean", axes=[1], keepdims=0),
    ]
    model = build(nodes, {"w": _normal(7, rows, 5)}, {"x": [1, 6]}, {"y": [1, 5]})
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    return model


def mlp() -> onnx.ModelProto:
    """MatMul, Add, Relu, MatMul, Softmax: ``x [N, 32]`` to ``y [N, 5]``."""
    node = helper.make_node
    nodes = [
        node("MatMul", ["x", "w1"], ["h"], name="first"),
        node("Add", ["h", "b1"], ["a"], name="bias"),
        node("Relu", ["a"], ["r"], name="relu"),
        node("MatMul", ["r", "w2"], ["z"], name="second"),
        node("Softmax", ["z"], ["y"], name="softmax", axis=-1),
    ]
    weights = {
        "w1": 6 * _normal(1, 32, 64),
        "b1": _normal(2, 64),
        "w2": 6 * _normal(3, 64, 5),
    }
    return build(nodes, weights, {"x": ["n", 32]}, {"y": ["n", 5]})


def feeds(model: onnx.ModelProto, count: int, seed: int = 0) -> dict[str, Any]:
    """Smooth random inputs, all in one batch."""
    random = np.random.default_rng(seed)
    weights = {t.name for t in model.graph.initializer}
    found = {}
    for value in model.graph.input:
        if value.name not in weights:
            shape = [d.dim_value or count for d in value.type.tensor_type.shape.dim]
            noise = random.standard_normal([count, *shape[1:]]).astype(np.float32)
            found[value.name] = noise + random.standard_normal([count] + [1] * (len(shape) - 1))
            found[value.name] = found[value.name].astype(np.float32)
    return found
