"""float16, bfloat16 and float64 originals: computed in float32, with their own inputs and outputs.

Rebuilt from public reports: a model that is float16 throughout, one whose float16 weights stand
behind Casts, and one in float64, of which ONNX Runtime has no Conv on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sprat.data.options import DataOptions
from sprat.errors import NoGainError
from sprat.graph.precision import in_float32, precision_note, to_float32
from sprat.graph.proof import gap
from sprat.model.inspect import inspect
from sprat.model.load import load, total_bytes
from sprat.model.result import checker_refusal
from sprat.model.session import open_session, run
from sprat.workflow.aim import Target
from sprat.workflow.budget import Budget
from sprat.workflow.compare import Comparison, compare
from sprat.workflow.optimize import optimize
from sprat.workflow.step import quantize_file, simplify_file
from tests.models import one_logit_cnn

_NUMPY: dict[int, Any] = {TensorProto.FLOAT16: np.float16, TensorProto.DOUBLE: np.float64}
_SIDE = 8


def _network(kind: int, *, conv: bool = True) -> onnx.ModelProto:
    """Return a small network that is of one precision throughout, inputs and outputs too."""
    random = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        values = random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        return numpy_helper.from_array(values.astype(_NUMPY[kind]), name)

    first = (
        [helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1] * 4)]
        if conv
        else [helper.make_node("Mul", ["x", "w1"], ["a"])]
    )
    nodes = [
        *first,
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("MatMul", ["f", "w2"], ["y"]),
    ]
    width = 16 if conv else 3
    weights = [
        weight("w1", 16, 3, 3, 3) if conv else weight("w1", 3, 1, 1),
        weight("w2", width * _SIDE * _SIDE, 4),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", kind, ["n", 3, _SIDE, _SIDE])],
        [helper.make_tensor_value_info("y", kind, ["n", 4])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _behind_casts() -> onnx.ModelProto:
    """Return a float32 network that stores its weights in float16."""
    model = _network(TensorProto.FLOAT16)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT
    casts = []
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            if name in ("w1", "w2"):
                casts.append(helper.make_node("Cast", [name], [f"{name}f"], to=TensorProto.FLOAT))
                node.input[i] = f"{name}f"
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _half() -> onnx.ModelProto:
    return _network(TensorProto.FLOAT16)


def _double() -> onnx.ModelProto:
    return _network(TensorProto.DOUBLE)


def _images(count: int, kind: int) -> NDArray[np.generic]:
    values = np.random.default_rng(1).standard_normal((count, 3, _SIDE, _SIDE))
    return values.astype(_NUMPY.get(kind, np.float32))


def _placed(model: onnx.ModelProto, folder: Path, count: int = 96) -> tuple[Path, Path]:
    """Write a model and data that fits it, with the model's own answers as labels."""
    onnx.save(model, folder / "model.onnx")
    kind = model.graph.input[0].type.tensor_type.elem_type
    x = _images(count, kind)
    answers = run(open_session(to_float32(model)), {"x": x})["y"]
    np.savez(folder / "data.npz", x=x, labels=np.argmax(np.asarray(answers, np.float64), axis=1))
    return folder / "model.onnx", folder / "data.npz"


def _types(model: onnx.ModelProto) -> list[tuple[str, int]]:
    values = (*model.graph.input, *model.graph.output)
    return [(v.name, v.type.tensor_type.elem_type) for v in values]


@pytest.mark.parametrize("build", [_half, _double, _behind_casts])
@pytest.mark.parametrize("method", ["weights", "dynamic", "static", "rate-distortion"])
def test_every_method_takes_every_precision(
    build: Callable[[], onnx.ModelProto], method: str, tmp_path: Path
) -> None:
    path, data = _placed(build(), tmp_path)
    out = tmp_path / "out.onnx"
    target = Target(bits_per_weight=4.0) if method == "rate-distortion" else None
    found = quantize_file(path, out, method, data=data, target=target)
    made = load(out)
    assert _types(made) == _types(build())
    assert not checker_refusal(out.read_bytes())
    assert isinstance(found, Comparison)
    assert found.evaluation.error.snr_db > 10
    assert found.reference_wire.raw == path.stat().st_size
    assert out.stat().st_size < path.stat().st_size
    kinds = "float64" if build is _double else "float16"
    assert any(kinds in note and "float32" in note for note in found.notes)


@pytest.mark.parametrize("build", [_half, _double])
def test_without_data_the_note_is_there_too(
    build: Callable[[], onnx.ModelProto], tmp_path: Path
) -> None:
    path, _ = _placed(build(), tmp_path)
    found = quantize_file(path, tmp_path / "out.onnx", "weights")
    assert any("inputs and outputs keep their types" in note for note in found.notes)
    assert _types(load(tmp_path / "out.onnx")) == _types(build())


def test_half_of_half_is_no_gain(tmp_path: Path) -> None:
    path, _ = _placed(_half(), tmp_path)
    with pytest.raises(NoGainError, match="float16 already") as caught:
        quantize_file(path, tmp_path / "out.onnx", "float16")
    assert "weights" in caught.value.hint
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize("build", [_half, _behind_casts])
def test_float16_is_not_advised_to_a_model_of_float16(
    build: Callable[[], onnx.ModelProto], tmp_path: Path
) -> None:
    path, _ = _placed(build(), tmp_path)
    commands = [advice.command for advice in inspect(path).advice]
    assert any("--method weights" in command for command in commands)
    assert not any("--method float16" in command for command in commands)


def test_int8_weights_are_not_advised_where_all_weights_are_small(tmp_path: Path) -> None:
    """The method refuses them, and its hint leads back to inspect."""
    weight = numpy_helper.from_array(np.ones((8, 16), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 16])],
        [weight],
    )
    opsets = [helper.make_opsetid("", 17)]
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    with pytest.raises(NoGainError, match="below 1,024"):
        quantize_file(path, tmp_path / "out.onnx", "weights")
    assert not any("--method weights" in advice.command for advice in inspect(path).advice)


def test_float16_is_advised_to_a_model_of_float64(tmp_path: Path) -> None:
    path, _ = _placed(_double(), tmp_path)
    assert any("--method float16" in advice.command for advice in inspect(path).advice)


def test_the_note_says_what_is_float16() -> None:
    assert precision_note(_half()).startswith("the model is float16: ")
    assert precision_note(_behind_casts()).startswith("the model's weights are float16: ")


def test_float64_becomes_float16(tmp_path: Path) -> None:
    path, _ = _placed(_double(), tmp_path)
    quantize_file(path, tmp_path / "out.onnx", "float16")
    assert (tmp_path / "out.onnx").stat().st_size < path.stat().st_size // 3
    assert _types(load(tmp_path / "out.onnx")) == _types(_double())


@pytest.mark.parametrize("build", [_half, _double, _behind_casts])
def test_a_search_holds_the_bytes_against_the_originals_own(
    build: Callable[[], onnx.ModelProto], tmp_path: Path
) -> None:
    path, data = _placed(build(), tmp_path)
    out = tmp_path / "small"
    result = optimize(path, data, out, budget=Budget(max_drop=60, minutes=0.05))
    assert result.model.wire.raw == len(total_bytes(path))
    assert result.choice.candidate != "original"
    assert result.outputs[0].wire.brotli < result.model.wire.brotli
    assert _types(load(out / "model.onnx")) == _types(build())
    assert any("float32" in note for note in result.data.notes)
    assert compare(path, out / "model.onnx", data).evaluation.agreement > 0.4


def test_a_search_that_gains_nothing_keeps_the_original(tmp_path: Path) -> None:
    path, data = _placed(_half(), tmp_path)
    out = tmp_path / "small"
    result = optimize(path, data, out, budget=Budget(max_drop=0, minutes=1e-4))
    if result.choice.candidate == "original":
        assert (out / "model.onnx").read_bytes() == path.read_bytes()
    assert result.outputs[0].wire.brotli <= result.model.wire.brotli


def test_a_float64_model_that_cannot_run_is_simplified_in_float32(tmp_path: Path) -> None:
    path, _ = _placed(_double(), tmp_path)
    found = simplify_file(path, tmp_path / "clean.onnx")
    assert "its float32 form stands for it" in found.note
    assert _types(load(tmp_path / "clean.onnx")) == _types(_double())


def test_simplify_leaves_float16_as_small_as_it_is(tmp_path: Path) -> None:
    path, _ = _placed(_half(), tmp_path)
    found = simplify_file(path, tmp_path / "clean.onnx")
    assert not found.note
    assert (tmp_path / "clean.onnx").stat().st_size <= path.stat().st_size


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_the_answers_stay(kind: int) -> None:
    model = _network(kind, conv=False)
    made, note = in_float32(model)
    assert note.endswith("inputs and outputs keep their types")
    x = {"x": _images(4, kind)}
    wanted, got = run(open_session(model), x)["y"], run(open_session(made), x)["y"]
    off, allowed = gap(wanted, got)
    assert off <= allowed
    floats = [t for t in made.graph.initializer if t.data_type == TensorProto.FLOAT]
    assert len(floats) == len(made.graph.initializer)
    assert not checker_refusal(made.SerializeToString())


def test_float32_models_are_not_touched() -> None:
    model = one_logit_cnn()
    made, note = in_float32(model)
    assert made is model
    assert not note


def test_a_stray_float64_constant_makes_no_float64_model() -> None:
    model = one_logit_cnn()
    model.graph.initializer.append(numpy_helper.from_array(np.array(1.5), "stray"))
    assert in_float32(model)[0] is model


def test_a_mask_beyond_float32_stays_a_number() -> None:
    low = numpy_helper.from_array(np.full((32, 32), np.finfo(np.float64).min), "low")
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Mul", ["mask", "low"], ["y"])],
        "mask",
        [value("mask", TensorProto.DOUBLE, ["n", 32, 32])],
        [value("y", TensorProto.DOUBLE, ["n", 32, 32])],
        [low],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    made = to_float32(model)
    mask = np.zeros((1, 32, 32))
    mask[0, 0, 0] = 1
    got = np.asarray(run(open_session(made), {"mask": mask})["y"])
    assert np.isfinite(got).all()
    assert got[0, 0, 0] < -3e38


def test_branches_functions_and_outer_names_are_converted_too() -> None:
    """An If whose branches read the input, a function with a Cast, an output that is a weight."""
    half, value = TensorProto.FLOAT16, helper.make_tensor_value_info
    big = numpy_helper.from_array(np.ones((32, 32), np.float16), "big")

    def branch(name: str, operator: str) -> onnx.GraphProto:
        node = helper.make_node(operator, ["x", "big"], [name])
        return helper.make_graph([node], name, [], [value(name, half, ["n", 32])])

    function = helper.make_function(
        "own",
        "Twice",
        ["a"],
        ["b"],
        [
            helper.make_node("Cast", ["a"], ["c"], to=half),
            helper.make_node("Add", ["c", "c"], ["b"]),
        ],
        [helper.make_opsetid("", 17)],
    )
    nodes = [
        helper.make_node(
            "If", ["yes"], ["i"], then_branch=branch("t", "MatMul"), else_branch=branch("e", "Gemm")
        ),
        helper.make_node("Twice", ["i"], ["y"], domain="own"),
        helper.make_node("Identity", ["x"], ["z"]),
    ]
    graph = helper.make_graph(
        nodes,
        "all",
        [value("x", half, ["n", 32]), value("yes", TensorProto.BOOL, [])],
        [value("y", half, ["n", 32]), value("z", half, ["n", 32]), value("big", half, [32, 32])],
        [big],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=[function])
    made = to_float32(model)
    assert not checker_refusal(made.SerializeToString())
    x = np.random.default_rng(0).standard_normal((2, 32)).astype(np.float16)
    for yes in (True, False):
        feeds = {"x": x, "yes": np.array(yes)}
        wanted, got = run(open_session(model), feeds), run(open_session(made), feeds)
        for name, values in wanted.items():
            assert np.asarray(got[name]).dtype == np.float16
            np.testing.assert_allclose(
                np.asarray(got[name], np.float32), np.asarray(values, np.float32), rtol=0.01
            )


def test_verify_reads_float16(tmp_path: Path) -> None:
    path, data = _placed(_half(), tmp_path)
    made = quantize_file(path, tmp_path / "out.onnx", "weights", data=data)
    again = compare(path, tmp_path / "out.onnx", data, options=DataOptions())
    assert isinstance(made, Comparison)
    assert again.evaluation.drop == made.evaluation.drop
