"""Real small models that the campaign damages."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tests.models import cnn_with_batch_norm, depthwise_cnn, mlp, one_logit_cnn, with_external_data

from sprat.quantization.configs import Dynamic, Weights
from sprat.quantization.quantize import quantize

_DOODLES = Path(__file__).parents[1] / "examples/doodles/doodles.onnx"
_LARGE = 4096


def seeds() -> list[bytes]:
    """Return the serialized models: float, quantized, with bodies, with external data."""
    logit = one_logit_cnn(width=8)
    models = (
        *(cnn_with_batch_norm(), cnn_with_batch_norm(opset=12), depthwise_cnn(), mlp(), logit),
        *(quantize(logit, Weights()), quantize(mlp(), Dynamic()), branches(), repeats()),
    )
    return [m.SerializeToString() for m in models] + [_beside()[0], _example()]


def _example() -> bytes:
    """Return the example as its exporter wrote it, large weights at zero: they compress fast."""
    model = onnx.load(_DOODLES)
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) > _LARGE:
            tensor.raw_data = bytes(len(tensor.raw_data))
    return model.SerializeToString()


def external_data() -> bytes:
    """Return what ``model.onnx.data`` holds beside a mutant."""
    return _beside()[1]


def _beside() -> tuple[bytes, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = with_external_data(Path(folder) / "model.onnx", one_logit_cnn(width=8))
        return path.read_bytes(), path.with_name("model.onnx.data").read_bytes()


def branches() -> onnx.ModelProto:
    """An If over the input's mean: ``input [n, 4]`` to ``output``."""
    value = helper.make_tensor_value_info
    bodies: dict[str, Any] = {
        f"{word}_branch": helper.make_graph(
            [helper.make_node(operator, ["input", "w"], [word])],
            word,
            [],
            [value(word, TensorProto.FLOAT, ["n", 4])],
        )
        for word, operator in (("then", "Mul"), ("else", "Sub"))
    }
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], keepdims=0),
        helper.make_node("Greater", ["mean", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["output"], **bodies),
    ]
    return _model(nodes, w=np.arange(4, dtype=np.float32), zero=np.zeros((), np.float32))


def repeats() -> onnx.ModelProto:
    """A Loop of three rounds: ``input [n, 4]`` to ``output``."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["on"]),
            helper.make_node("Mul", ["state", "w"], ["next"]),
        ],
        "body",
        [
            value("round", TensorProto.INT64, []),
            value("going", TensorProto.BOOL, []),
            value("state", TensorProto.FLOAT, ["n", 4]),
        ],
        [value("on", TensorProto.BOOL, []), value("next", TensorProto.FLOAT, ["n", 4])],
    )
    nodes = [helper.make_node("Loop", ["rounds", "true", "input"], ["output"], body=body)]
    return _model(
        nodes,
        w=np.arange(4, dtype=np.float32),
        rounds=np.array(3, np.int64),
        true=np.array(True),
    )


def _model(nodes: list[onnx.NodeProto], **weights: NDArray[Any]) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "control_flow",
        [value("input", TensorProto.FLOAT, ["n", 4])],
        [value("output", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model
