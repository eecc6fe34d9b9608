"""Models that list every weight as an input, as IR version 3 demanded and exporters still do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sprat.graph.passes import PASSES
from sprat.graph.simplify import simplify
from sprat.model.inspect import tensor_infos
from sprat.model.load import load
from sprat.model.result import checker_refusal
from sprat.quantization.configs import METHODS
from sprat.workflow.aim import Target
from sprat.workflow.budget import Budget
from sprat.workflow.compare import Comparison
from sprat.workflow.optimize import optimize
from sprat.workflow.step import quantize_file, simplify_file

_NEEDS_DATA = ("static", "rate-distortion")


def _old(ir_version: int, opset: int) -> onnx.ModelProto:
    """Return Conv, BatchNormalization and MatMul whose weights are inputs, too."""
    random = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return random.standard_normal(shape).astype(np.float32)

    weights = {
        "w": normal(16, 3, 3, 3),
        "b": normal(16),
        "gamma": normal(16),
        "beta": normal(16),
        "mean": normal(16),
        "var": np.full(16, 0.7, np.float32),
        "w2": normal(16, 16, 3, 3),
        "shape": np.array([0, -1]),
        "w3": normal(16, 4),
    }
    node = helper.make_node
    nodes = [
        node("Conv", ["data", "w", "b"], ["c"], pads=[1] * 4, name="conv"),
        node("BatchNormalization", ["c", "gamma", "beta", "mean", "var"], ["n"], name="norm"),
        node("Relu", ["n"], ["r"], name="relu"),
        node("Conv", ["r", "w2"], ["c2"], pads=[1] * 4, name="conv2"),
        node("GlobalAveragePool", ["c2"], ["p"], name="pool"),
        node("Reshape", ["p", "shape"], ["f"], name="flat"),
        node("MatMul", ["f", "w3"], ["y"], name="product"),
    ]
    tensors = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    value = helper.make_tensor_value_info
    inputs = [value("data", TensorProto.FLOAT, ["n", 3, 8, 8])]
    inputs += [value(t.name, t.data_type, list(t.dims)) for t in tensors]
    outputs = [value("y", TensorProto.FLOAT, ["n", 4])]
    graph = helper.make_graph(nodes, "old", inputs, outputs, tensors)
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def _placed(folder: Path, ir_version: int, opset: int) -> tuple[Path, Path]:
    onnx.save(_old(ir_version, opset), folder / "model.onnx")
    random = np.random.default_rng(1)
    data = random.standard_normal((64, 3, 8, 8)) + 2 * random.standard_normal((64, 3, 1, 1))
    np.savez(folder / "data.npz", data=data.astype(np.float32))
    return folder / "model.onnx", folder / "data.npz"


def _is_whole(path: Path) -> bool:
    model = load(path)
    return (
        not checker_refusal(path.read_bytes())
        and [i.name for i in tensor_infos(model)] == ["data"]
        and model.ir_version >= 4
    )


@pytest.mark.parametrize(("ir_version", "opset"), [(3, 8), (7, 13)])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_them(ir_version: int, opset: int, method: str, tmp_path: Path) -> None:
    path, data = _placed(tmp_path, ir_version, opset)
    out = tmp_path / "out.onnx"
    target = Target(bits_per_weight=4.0) if method == "rate-distortion" else None
    given = data if method in _NEEDS_DATA else None
    found = quantize_file(path, out, method, data=given, target=target)
    assert _is_whole(out)
    assert isinstance(found, Comparison)
    assert found.evaluation.error.snr_db > 8


@pytest.mark.parametrize(("ir_version", "opset"), [(3, 8), (7, 13)])
def test_simplify_folds_them(ir_version: int, opset: int, tmp_path: Path) -> None:
    path, _ = _placed(tmp_path, ir_version, opset)
    simplify_file(path, tmp_path / "clean.onnx")
    assert _is_whole(tmp_path / "clean.onnx")
    made = load(tmp_path / "clean.onnx")
    assert "BatchNormalization" not in [n.op_type for n in made.graph.node]


@pytest.mark.parametrize("name", [name for name in PASSES if name != "slim"])
def test_no_pass_alone_leaves_what_the_checker_refuses(name: str) -> None:
    made = simplify(_old(3, 8), only=[name]).model
    assert not checker_refusal(made.SerializeToString())


@pytest.mark.parametrize(("ir_version", "opset"), [(3, 8), (7, 13)])
def test_a_search_takes_them(ir_version: int, opset: int, tmp_path: Path) -> None:
    path, data = _placed(tmp_path, ir_version, opset)
    found = optimize(path, data, tmp_path / "small", budget=Budget(max_drop=60, minutes=0.05))
    assert found.choice.candidate != "original"
    assert _is_whole(tmp_path / "small" / "model.onnx")
