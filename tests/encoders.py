"""A small text encoder as exporters write it: whole ids, a mask of huge negatives, one head."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_WIDTH, _WORDS, _LENGTH = 64, 300, 16


def masked_encoder(count: int = 32) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Return an encoder of one attention layer, and inputs of it.

    Args:
        count: Samples.

    Returns:
        A model from ``input_ids`` and ``attention_mask`` ``[batch, seq]`` int64 to ``logits``
        ``[batch, 4]``, and ``[count, 16]`` of both.
    """
    random = np.random.default_rng(0)

    def weight(*shape: int) -> Any:
        return (random.standard_normal(shape) / shape[-1] ** 0.5).astype(np.float32)

    weights = {
        "words": weight(_WORDS, _WIDTH),
        **{name: weight(_WIDTH, _WIDTH) for name in ("wq", "wk", "wv", "wo")},
        "head": weight(_WIDTH, 4),
        "one": np.array(1, np.float32),
        "low": np.array(np.finfo(np.float32).min, np.float32),
        "root": np.array(8, np.float32),
        "axis": np.array([1]),
        "first": np.array(0),
    }
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        _nodes(),
        "encoder",
        [
            value(name, TensorProto.INT64, ["batch", "seq"])
            for name in ("input_ids", "attention_mask")
        ],
        [value("logits", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(model)
    lengths = random.integers(3, _LENGTH + 1, (count, 1))
    feeds = {
        "input_ids": random.integers(0, _WORDS, (count, _LENGTH)),
        "attention_mask": (np.arange(_LENGTH)[None] < lengths).astype(np.int64),
    }
    return model, feeds


def _nodes() -> list[onnx.NodeProto]:
    node = helper.make_node
    return [
        node("Gather", ["words", "input_ids"], ["e"], name="embed"),
        node("MatMul", ["e", "wq"], ["q"], name="query"),
        node("MatMul", ["e", "wk"], ["k"], name="key"),
        node("MatMul", ["e", "wv"], ["v"], name="value"),
        node("Transpose", ["k"], ["kt"], name="turn", perm=[0, 2, 1]),
        node("MatMul", ["q", "kt"], ["s"], name="score"),
        node("Div", ["s", "root"], ["s1"], name="scale"),
        node("Unsqueeze", ["attention_mask", "axis"], ["m1"], name="widen"),
        node("Cast", ["m1"], ["m2"], name="cast", to=TensorProto.FLOAT),
        node("Sub", ["one", "m2"], ["m3"], name="invert"),
        node("Mul", ["m3", "low"], ["m4"], name="lowest"),
        node("Add", ["s1", "m4"], ["s2"], name="mask"),
        node("Softmax", ["s2"], ["p"], name="softmax", axis=-1),
        node("MatMul", ["p", "v"], ["c"], name="mix"),
        node("MatMul", ["c", "wo"], ["o"], name="project"),
        node("Add", ["o", "e"], ["r"], name="residual"),
        node("Gather", ["r", "first"], ["cls"], name="first", axis=1),
        node("MatMul", ["cls", "head"], ["logits"], name="head"),
    ]
