"""How many samples share a run, which outputs are measured, and samples of unlike shapes."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sprat.data.options import DataOptions, as_toml, as_words, read_file, read_options
from sprat.errors import DataError, OptionError
from sprat.model.load import load, save
from sprat.model.session import open_session, run
from sprat.quantization.configs import Dynamic
from sprat.quantization.quantize import quantize
from sprat.workflow.compare import Comparison, compare
from sprat.workflow.setting import open_setting
from sprat.workflow.step import quantize_file
from sprat.workflow.verify import verify
from tests.networks import build, mlp

Array = NDArray[Any]
RANDOM = np.random.default_rng(0)


def normal(*shape: int) -> Array:
    """Return seeded weights or samples."""
    fan = float(np.prod(shape[1:])) if len(shape) > 1 else 1.0
    values = np.random.default_rng(len(shape)).standard_normal(shape) / fan**0.5
    return np.asarray(values, np.float32)


def alone(model: onnx.ModelProto, x: Array, name: str = "y") -> Array:
    """Return an output with each sample in a run of its own."""
    session = open_session(model)
    return np.concatenate([run(session, {"x": x[i : i + 1]}, [name])[name] for i in range(len(x))])


def reshaping(target: list[int]) -> onnx.ModelProto:
    """Say that any number of samples goes, and reshape them to a fixed one inside."""
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w1"], ["a"], pads=[1] * 4, name="conv"),
        node("Relu", ["a"], ["r"], name="relu"),
        node("Reshape", ["r", "to"], ["q"], name="reshape"),
        node("ReduceMean", ["q"], ["p"], axes=[2], keepdims=0, name="mean"),
        node("MatMul", ["p", "w2"], ["y"], name="head"),
    ]
    weights = {"w1": normal(16, 3, 3, 3), "w2": normal(16, 64), "to": np.array(target)}
    return build(nodes, weights, {"x": ["n", 3, 8, 8]}, {"y": ["n", 64]})


def branching() -> onnx.ModelProto:
    """Take another branch where the first value of a run is positive."""
    node, info = helper.make_node, helper.make_empty_tensor_value_info
    branches: dict[str, Any] = {
        f"{word}_branch": helper.make_graph(
            [node("MatMul", ["x", weight], [f"y_{word}"], name=f"m_{word}")],
            word,
            [],
            [info(f"y_{word}")],
        )
        for word, weight in (("then", "w1"), ("else", "w2"))
    }
    nodes = [
        node("ReduceMean", ["x"], ["m"], keepdims=0, name="mean"),
        node("Greater", ["m", "zero"], ["c"], name="positive"),
        node("If", ["c"], ["y"], name="if", **branches),
    ]
    weights = {"w1": normal(8, 4), "w2": -normal(8, 4), "zero": np.array(0, np.float32)}
    return build(nodes, weights, {"x": ["n", 8]}, {"y": ["n", 4]})


def images(count: int) -> Array:
    """Return images of different brightness."""
    random = np.random.default_rng(5)
    values = random.standard_normal((count, 3, 8, 8)) + random.standard_normal((count, 3, 1, 1))
    return np.asarray(values, np.float32)


@pytest.mark.parametrize("target", [[1, 16, -1], [1, 16, 64]])
def test_a_model_fixed_to_one_sample_inside_is_run_on_one(
    target: list[int], tmp_path: Path
) -> None:
    model, x = reshaping(target), images(40)
    labels = alone(model, x).argmax(axis=1)
    np.savez(tmp_path / "data.npz", x=x, labels=labels)
    path = save(model, tmp_path / "model.onnx")
    setting = open_setting(path, tmp_path / "data.npz")
    assert setting.reference.size == 1
    assert setting.reference.accuracy == 1.0
    assert any("one at a time" in note for note in setting.notes)
    found = quantize_file(path, tmp_path / "small.onnx", "weights", data=tmp_path / "data.npz")
    assert isinstance(found, Comparison)
    assert found.evaluation.agreement > 0.9


def test_a_fixed_batch_is_as_it_was(tmp_path: Path) -> None:
    model = reshaping([4, 16, 64])
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    np.savez(tmp_path / "data.npz", x=images(40))
    setting = open_setting(save(model, tmp_path / "model.onnx"), tmp_path / "data.npz")
    assert setting.reference.size == 4
    assert not any("one at a time" in note for note in setting.notes)


def test_each_sample_takes_its_own_branch(tmp_path: Path) -> None:
    model = branching()
    random = np.random.default_rng(3)
    x = (random.standard_normal((60, 8)) + random.standard_normal((60, 1))).astype(np.float32)
    labels = alone(model, x).argmax(axis=1)
    np.savez(tmp_path / "data.npz", x=x, labels=labels)
    path = save(model, tmp_path / "model.onnx")
    setting = open_setting(path, tmp_path / "data.npz")
    assert setting.reference.accuracy == 1.0
    assert any("one If decides" in note and "one at a time" in note for note in setting.notes)


def test_samples_that_can_share_a_run_do(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=normal(40, 32))
    setting = open_setting(save(mlp(), tmp_path / "model.onnx"), tmp_path / "data.npz")
    assert setting.reference.size == 8
    assert not any("one at a time" in note for note in setting.notes)


def test_a_dynamic_range_is_of_one_sample_as_on_a_page(tmp_path: Path) -> None:
    """Dynamic quantization finds one range for a run: eight samples would share it."""
    random = np.random.default_rng(1)
    x = (random.standard_normal((40, 32)) * np.exp(3 * random.standard_normal((40, 1)))).astype(
        np.float32
    )
    np.savez(tmp_path / "data.npz", x=x)
    path = save(mlp(), tmp_path / "model.onnx")
    small = quantize(load(path), Dynamic(), [])
    assert "DynamicQuantizeLinear" in {node.op_type for node in small.graph.node}
    setting = open_setting(path, tmp_path / "data.npz", DataOptions(kind="classes"))
    samples = setting.reference.dataset.samples
    given = np.concatenate([setting.reference.dataset.batch([i])["x"] for i in range(len(samples))])
    wanted = setting.reference.compare({"y": alone(small, given)})
    assert setting.reference.evaluate(small) == wanted
    found = compare(path, save(small, tmp_path / "small.onnx"), tmp_path / "data.npz")
    assert any("small.onnx: one DynamicQuantizeLinear decides" in note for note in found.notes)


def test_a_candidate_of_another_batch_than_the_original(tmp_path: Path) -> None:
    original = mlp()
    fixed = mlp()
    for value in (fixed.graph.input[0], fixed.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    np.savez(tmp_path / "data.npz", x=normal(40, 32))
    found = compare(
        save(original, tmp_path / "model.onnx"),
        save(fixed, tmp_path / "fixed.onnx"),
        tmp_path / "data.npz",
    )
    assert found.evaluation.agreement == pytest.approx(1.0)


def many_outputs() -> onnx.ModelProto:
    """Give logits beside a table, the input, a copy, a bool, a scalar and boxes ``[k, 4]``."""
    node = helper.make_node
    nodes = [
        node("Identity", ["priors"], ["table"], name="i1"),
        node("Identity", ["x"], ["x_copy"], name="i2"),
        node("Gemm", ["x", "w1"], ["a"], name="g1"),
        node("Relu", ["a"], ["r"], name="relu"),
        node("MatMul", ["r", "w2"], ["y"], name="head"),
        node("Identity", ["y"], ["y_copy"], name="i3"),
        node("Greater", ["y", "zero"], ["yes"], name="greater"),
        node("ReduceMean", ["y"], ["loss"], keepdims=0, name="mean"),
        node("NonZero", ["yes"], ["where"], name="nonzero"),
        node("Transpose", ["where"], ["boxes"], name="turn", perm=[1, 0]),
    ]
    weights = {
        "w1": normal(16, 256),
        "w2": normal(256, 4),
        "priors": normal(10, 4),
        "zero": np.array(0, np.float32),
    }
    shapes: dict[str, tuple[int, list[Any]]] = {
        "table": (TensorProto.FLOAT, [10, 4]),
        "x_copy": (TensorProto.FLOAT, ["n", 16]),
        "y": (TensorProto.FLOAT, ["n", 4]),
        "y_copy": (TensorProto.FLOAT, ["n", 4]),
        "yes": (TensorProto.BOOL, ["n", 4]),
        "loss": (TensorProto.FLOAT, []),
        "boxes": (TensorProto.INT64, ["k", 2]),
    }
    graph = helper.make_graph(
        nodes,
        "many",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16])],
        [helper.make_tensor_value_info(name, *kind) for name, kind in shapes.items()],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


@pytest.fixture
def many(tmp_path: Path) -> tuple[Path, Path]:
    """The model of many outputs, with samples and the labels that it gives."""
    model, x = many_outputs(), normal(60, 16)
    np.savez(tmp_path / "data.npz", x=x, labels=alone(model, x).argmax(axis=1))
    np.savez(tmp_path / "unlabelled.npz", x=x)
    return save(model, tmp_path / "many.onnx"), tmp_path / "data.npz"


def test_side_outputs_need_no_axis_of_samples(many: tuple[Path, Path], tmp_path: Path) -> None:
    path, data = many
    setting = open_setting(path, data)
    assert setting.reference.reading.output == "y"
    assert setting.reference.accuracy == 1.0
    assert setting.reference.size == 8
    assert set(setting.reference.outputs) == {"y"}
    passed = next(note for note in setting.notes if note.startswith("not measured"))
    assert "'table' is the same whatever the sample" in passed
    found = quantize_file(path, tmp_path / "small.onnx", "weights", data=data)
    assert isinstance(found, Comparison)
    assert found.evaluation.metric == "accuracy"
    verdict = verify(tmp_path / "small.onnx", path, data, max_drop=100)
    assert verdict.checks[0].holds


def test_without_labels_every_output_that_can_be_measured_decides(
    many: tuple[Path, Path], tmp_path: Path
) -> None:
    path, _ = many
    setting = open_setting(path, tmp_path / "unlabelled.npz")
    assert [read.output for read in setting.reference.reading.deciding] == ["y", "yes"]
    assert any("each of the 2 outputs decides" in note for note in setting.notes)


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("boxes", DataError, r"'boxes' has .*shape.*Outputs that can decide: y, y_copy, yes"),
        ("table", OptionError, r"'table' is the same whatever the sample.*can decide: y, "),
        ("x_copy", OptionError, r"'x_copy' is a copy of the input.*can decide: y, "),
        ("none", OptionError, r"there is no output 'none'; the model has table, x_copy, y"),
    ],
)
def test_an_output_that_cannot_decide_names_those_that_can(
    many: tuple[Path, Path], name: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        open_setting(*many, DataOptions(name=name))


def two_outputs(dead: bool = False) -> onnx.ModelProto:
    """Give boxes and scores; the scores of a dead one are constant."""
    node = helper.make_node
    nodes = [
        node("MatMul", ["x", "w1"], ["boxes"], name="first"),
        node("MatMul", ["x", "w2"], ["z"], name="second"),
        node("Sigmoid", ["z"], ["scores"], name="sigmoid"),
    ]
    second = normal(16, 3) * np.float32(0 if dead else 1)
    weights = {"w1": normal(16, 4), "w2": second}
    return build(nodes, weights, {"x": ["n", 16]}, {"boxes": ["n", 4], "scores": ["n", 3]})


def test_the_worst_of_several_outputs_decides(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=normal(60, 16))
    path = save(two_outputs(), tmp_path / "model.onnx")
    dead = save(two_outputs(dead=True), tmp_path / "dead.onnx")
    found = compare(path, dead, tmp_path / "data.npz").evaluation
    assert "scores" in found.worst
    assert found.drop > 1
    assert not verify(dead, path, tmp_path / "data.npz").holds
    boxes = DataOptions(name="boxes")
    assert compare(path, dead, tmp_path / "data.npz", options=boxes).evaluation.drop == 0
    both = DataOptions(name=("boxes", "scores"))
    assert compare(path, dead, tmp_path / "data.npz", options=both).evaluation.drop == found.drop


def test_outputs_are_selected_in_toml_and_on_the_command_line(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=normal(60, 16))
    save(two_outputs(), tmp_path / "model.onnx")
    save(two_outputs(dead=True), tmp_path / "dead.onnx")
    command = [sys.executable, "-m", "sprat", "compare", "model.onnx", "dead.onnx"]
    words = ["--data", "data.npz", "--output", "boxes", "--output", "scores", "--json"]
    done = subprocess.run(
        [*command, *words], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert json.loads(done.stdout)["evaluation"]["worst"] == "output 'scores'"
    (tmp_path / "sprat.toml").write_text('[output]\nname = ["boxes", "scores"]\n')
    options = read_options(tmp_path / "model.onnx", None)
    assert options.outputs == ("boxes", "scores")
    assert as_words(options) == ["--output", "boxes", "--output", "scores"]
    assert read_file(tmp_path / "sprat.toml").outputs == ("boxes", "scores")
    assert tomllib.loads(as_toml(options))["output"]["name"] == ["boxes", "scores"]


SEQUENCES = """
import numpy as np

def batches():
    random = np.random.default_rng(1)
    for i in range(40):
        x = random.standard_normal((1 + i % 2, 4 + i % 5, 8)).astype(np.float32)
        yield {"x": x}, np.abs(x).max(axis=(1, 2)) > 2

def fails():
    yield {"x": np.zeros((1, 4, 8), np.float32)}
    raise KeyError("mine")
"""


@pytest.fixture
def sequences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """A model that pools sequences of any length, and a function that yields some."""
    monkeypatch.chdir(tmp_path)
    name = f"sequences_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(SEQUENCES)
    node = helper.make_node
    nodes = [
        node("MatMul", ["x", "w1"], ["a"], name="first"),
        node("Relu", ["a"], ["r"], name="relu"),
        node("ReduceMean", ["r"], ["p"], axes=[1], keepdims=0, name="mean"),
        node("MatMul", ["p", "w2"], ["y"], name="second"),
    ]
    model = build(
        nodes,
        {"w1": normal(8, 256), "w2": normal(256, 3)},
        {"x": ["n", "t", 8]},
        {"y": ["n", 3]},
    )
    return save(model, tmp_path / "model.onnx"), f"{name}:batches"


@pytest.mark.parametrize("method", ["weights", "static", "dynamic"])
def test_samples_of_unlike_length_are_measured(
    method: str, sequences: tuple[Path, str], tmp_path: Path
) -> None:
    path, data = sequences
    setting = open_setting(path, data)
    counts = [len(part.samples) for part in (setting.data.val, setting.data.test) if part]
    assert sum(counts) == 60
    assert any("unlike shapes" in note for note in setting.notes)
    lengths = {setting.reference.dataset.batch([i])["x"].shape for i in range(counts[0])}
    assert len(lengths) == 5
    found = quantize_file(path, tmp_path / "small.onnx", method, data=data)
    assert isinstance(found, Comparison)
    assert found.evaluation.samples == counts[0]
    assert found.evaluation.agreement > 0.8


def test_samples_of_unlike_length_calibrate(sequences: tuple[Path, str], tmp_path: Path) -> None:
    from sprat.workflow.aim import Target

    path, data = sequences
    found = quantize_file(
        path,
        tmp_path / "small.onnx",
        "rate-distortion",
        data=data,
        target=Target(bits_per_weight=4.0),
    )
    assert isinstance(found, Comparison)
    assert found.evaluation.agreement > 0.7


def test_a_function_that_fails_is_still_named(sequences: tuple[Path, str]) -> None:
    path, data = sequences
    with pytest.raises(DataError, match=r"failed \(KeyError: 'mine'\)"):
        open_setting(path, data.replace("batches", "fails"))


def test_an_output_of_unlike_length_is_told(sequences: tuple[Path, str]) -> None:
    path, data = sequences
    model = load(path)
    model.graph.output.append(
        helper.make_tensor_value_info("r", TensorProto.FLOAT, ["n", "t", 256])
    )
    save(model, path)
    assert open_setting(path, data).reference.reading.output == "y"
    with pytest.raises(DataError, match=r"'r' has another shape for each sample.*can decide: y"):
        open_setting(path, data, DataOptions(name="r"))
