"""Compile models and run them through the lean runtime in Node, many at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sprat.browser.lean import Answer, Case, answers
from sprat.lean.compile import compile_model
from sprat.lean.plan import plan_text
from sprat.model.session import Feeds, Outputs, open_session, run


def random(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def single(op: str, shape: list[Any], *weights: Any, opset: int = 17, **more: Any) -> Any:
    """A model of one node on ``x``."""
    names = [f"w{i}" for i in range(len(weights))]
    node = helper.make_node(op, ["x", *names], ["y"], name="the-node", **more)
    return unchecked([node], dict(zip(names, weights, strict=True)), shape, opset)


def unchecked(
    nodes: list[onnx.NodeProto], weights: dict[str, Any], shape: list[Any], opset: int = 17
) -> onnx.ModelProto:
    """A model from ``x`` to ``y`` that may be wrong."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "small",
        [value("x", TensorProto.FLOAT, shape)],
        [value("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(w), name) for name, w in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def case(model: onnx.ModelProto, feeds: Sequence[Feeds], repeat: int = 0) -> Case:
    made = compile_model(model)
    return Case(plan_text(made.plan), made.weights, tuple(feeds), repeat)


def gap(wanted: Outputs, got: Outputs) -> float:
    """The largest difference, as a share of the largest value of that output or of 1."""
    worst = 0.0
    for name, values in wanted.items():
        assert got[name].shape == values.shape, (name, values.shape, got[name].shape)
        a, b = np.asarray(values, np.float64), np.asarray(got[name], np.float64)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        scale = max(1.0, float(np.abs(a[np.isfinite(a)]).max(initial=0.0)))
        with np.errstate(invalid="ignore"):
            off = float(np.where(same, 0.0, np.abs(a - b)).max(initial=0.0)) / scale
        worst = max(worst, np.inf if np.isnan(off) else off)
    return worst


def native(model: onnx.ModelProto, feeds: Feeds) -> Outputs:
    return run(open_session(model), feeds)


def noise(model: onnx.ModelProto, seed: int = 0) -> Feeds:
    """Standard normal inputs with dynamic axes at 1."""
    random = np.random.default_rng(seed)
    known = {t.name for t in model.graph.initializer}
    found: dict[str, Any] = {}
    for value in model.graph.input:
        if value.name not in known:
            shape = [d.dim_value or 1 for d in value.type.tensor_type.shape.dim]
            found[value.name] = random.standard_normal(shape).astype(np.float32)
    return found


def gaps(models: Sequence[onnx.ModelProto]) -> list[float]:
    """Run every model natively and in the lean runtime on one input; the gap of each."""
    feeds = [noise(model, i) for i, model in enumerate(models)]
    cases = [case(model, [fed]) for model, fed in zip(models, feeds, strict=True)]
    found: list[Answer] = answers(cases)
    out = []
    for model, fed, answer in zip(models, feeds, found, strict=True):
        assert answer.error == "", (answer.error, [n.op_type for n in model.graph.node])
        out.append(gap(native(model, fed), answer.outputs[0]))
    return out
