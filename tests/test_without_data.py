"""Quantizing and cleaning without data, errors inside a model, and outputs that are dropped."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from sprat.data.options import DataOptions
from sprat.errors import OptionError, ShapeMismatchError, UnsupportedModelError
from sprat.model.load import load, save
from sprat.model.outputs import keep_outputs
from sprat.model.session import open_session, run
from sprat.workflow.budget import Budget
from sprat.workflow.compare import Comparison, NotCompared
from sprat.workflow.optimize import optimize
from sprat.workflow.step import quantize_file, simplify_file
from tests.networks import build, cnn


def normal(*shape: int) -> Any:
    values = np.random.default_rng(len(shape)).standard_normal(shape) / np.prod(shape[1:]) ** 0.5
    return np.asarray(values, np.float32)


def pooling() -> onnx.ModelProto:
    """Pool 5x5 pixels: no height below 5 is possible, and any other is."""
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w"], ["c"], name="conv"),
        node("MaxPool", ["c"], ["p"], name="pool", kernel_shape=[5, 5]),
        node("GlobalAveragePool", ["p"], ["g"], name="mean"),
        node("Flatten", ["g"], ["y"], name="flat"),
    ]
    shape = ["n", 3, "height", "width"]
    return build(nodes, {"w": normal(64, 3, 3, 3)}, {"x": shape}, {"y": ["n", 64]})


def fixed_inside(size: int) -> onnx.ModelProto:
    """Reshape to a fixed size, of one sample and of no other."""
    node = helper.make_node
    nodes = [
        node("Reshape", ["x", "to"], ["r"], name="reshape"),
        node("MatMul", ["r", "w"], ["y"], name="head"),
    ]
    weights = {"to": np.array([1, size]), "w": normal(size, 32)}
    return build(nodes, weights, {"x": ["n", "width"]}, {"y": [1, 32]})


@pytest.mark.parametrize("method", ["weights", "dynamic", "float16"])
def test_a_height_that_cannot_be_one(method: str, tmp_path: Path) -> None:
    path = save(pooling(), tmp_path / "model.onnx")
    found = quantize_file(path, tmp_path / "small.onnx", method)
    assert isinstance(found, Comparison)
    assert found.evaluation.samples == 16


def test_what_cannot_be_compared_is_written_all_the_same(tmp_path: Path) -> None:
    path = save(fixed_inside(100), tmp_path / "model.onnx")
    found = quantize_file(path, tmp_path / "small.onnx", "weights")
    assert isinstance(found, NotCompared)
    assert "not compared with the original" in found.notes[0]
    assert load(tmp_path / "small.onnx").graph.output[0].name == "y"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "sprat", "quantize", str(path), "--method", "weights"),
            *("-o", str(tmp_path / "again.onnx")),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "not compared with the original" in " ".join((done.stdout + done.stderr).split())


def test_a_constant_output_is_no_reason_to_refuse(tmp_path: Path) -> None:
    model = cnn()
    model.graph.node.append(helper.make_node("Identity", ["w3"], ["table"], name="table"))
    model.graph.output.insert(0, helper.make_tensor_value_info("table", 1, [1, 32]))
    found = quantize_file(save(model, tmp_path / "m.onnx"), tmp_path / "small.onnx", "weights")
    assert isinstance(found, Comparison)


def test_simplify_takes_the_data_that_it_asks_for(tmp_path: Path) -> None:
    path, out = save(fixed_inside(100), tmp_path / "model.onnx"), tmp_path / "clean.onnx"
    with pytest.raises(ShapeMismatchError, match="Give real samples with --data"):
        simplify_file(path, out)
    np.savez(tmp_path / "data.npz", x=normal(8, 100))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "sprat", "simplify", str(path), "-o", str(out)),
            *("--data", str(tmp_path / "data.npz")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert load(out).graph.output[0].name == "y"


def test_an_error_inside_a_model_is_no_mismatch_of_its_inputs() -> None:
    """A Gather beyond its table: the samples have exactly the shape that is wanted."""
    nodes = [helper.make_node("Gather", ["table", "x"], ["y"], name="gather")]
    model = build(nodes, {"table": normal(4, 3)}, {"x": ["n", 2]}, {"y": ["n", 2, 3]})
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    session = open_session(model)
    with pytest.raises(UnsupportedModelError, match=r"cannot run this model on x int64\[1, 2\]"):
        run(session, {"x": np.array([[0, 9]])})
    with pytest.raises(ShapeMismatchError, match=r"samples give x int64\[1, 3\]"):
        run(session, {"x": np.array([[0, 1, 2]])})
    with pytest.raises(ShapeMismatchError, match="samples give x float32"):
        run(session, {"x": np.zeros((1, 2), np.float32)})


def two_heads() -> onnx.ModelProto:
    """Give small scores and, by far more weights, features."""
    node = helper.make_node
    nodes = [
        node("MatMul", ["x", "w1"], ["h"], name="first"),
        node("MatMul", ["h", "w2"], ["scores"], name="second"),
        node("MatMul", ["h", "w3"], ["features"], name="third"),
    ]
    weights = {"w1": normal(16, 128), "w2": normal(128, 8), "w3": normal(128, 512)}
    return build(nodes, weights, {"x": ["n", 16]}, {"features": ["n", 512], "scores": ["n", 8]})


def test_only_outputs_drops_nodes_and_weights() -> None:
    model = two_heads()
    kept = keep_outputs(model, ["scores"])
    onnx.checker.check_model(kept, full_check=True)
    assert [output.name for output in kept.graph.output] == ["scores"]
    assert [node.name for node in kept.graph.node] == ["first", "second"]
    assert [tensor.name for tensor in kept.graph.initializer] == ["w1", "w2"]
    assert len(model.graph.output) == 2
    x = {"x": normal(5, 16)}
    wanted = run(open_session(model), x)["scores"]
    assert (run(open_session(kept), x)["scores"] == wanted).all()
    with pytest.raises(OptionError, match="there is no output 'z'; the model has features, scores"):
        keep_outputs(model, ["z"])
    with pytest.raises(OptionError, match="no output is selected"):
        keep_outputs(model, [])


def test_only_outputs_by_hand_and_in_a_search(tmp_path: Path) -> None:
    path, data = save(two_heads(), tmp_path / "model.onnx"), tmp_path / "data.npz"
    np.savez(data, x=normal(80, 16))
    scores = DataOptions(name="scores")
    simplify_file(path, tmp_path / "clean.onnx", options=scores, only_outputs=True)
    assert "w3" not in {t.name for t in load(tmp_path / "clean.onnx").graph.initializer}
    found = quantize_file(
        path, tmp_path / "small.onnx", "weights", data=data, options=scores, only_outputs=True
    )
    assert isinstance(found, Comparison)
    assert [o.name for o in load(tmp_path / "small.onnx").graph.output] == ["scores"]
    out = tmp_path / "out"
    run_record = optimize(
        path,
        data,
        out,
        budget=Budget(max_drop=100, minutes=0.01),
        options=scores,
        only_outputs=True,
    )
    assert [o.name for o in load(out / "model.onnx").graph.output] == ["scores"]
    assert "--only-outputs" in run_record.command
    assert "--output scores" in run_record.command
    said = json.loads((out / "run.json").read_text())["data"]["reading"]["output"]
    assert said == "scores"
