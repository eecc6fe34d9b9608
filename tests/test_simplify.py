"""Cleaning passes: each does its work, proves it, and is undone where it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.version_converter import ConvertError, convert_version

from sprat.errors import OptionError, ShapeMismatchError
from sprat.graph.passes import PASSES, Pass
from sprat.graph.proof import noise, prepare
from sprat.graph.simplify import Step, simplify
from sprat.graph.transforms import copy_of, onnxoptimizer_pass
from sprat.model.inspect import TensorInfo, tensor_infos
from sprat.model.load import load, save
from sprat.model.nodes import all_nodes
from sprat.model.session import Feeds, open_session, run
from tests.models import (
    cnn_with_batch_norm,
    depthwise_cnn,
    images,
    mlp,
    one_logit_cnn,
)
from tests.untidy import Untidy, graph, node, normal, untidy

UNTIDY = tuple(untidy())
BUILDERS: tuple[Callable[..., onnx.ModelProto], ...] = (
    cnn_with_batch_norm,
    one_logit_cnn,
    depthwise_cnn,
    mlp,
)


def _outputs(model: onnx.ModelProto, feeds: Feeds | None = None) -> NDArray[np.float32]:
    values = run(open_session(model), feeds or noise(tensor_infos(model), 8))
    return np.asarray(values[model.graph.output[0].name], np.float32)


def _operators(model: onnx.ModelProto) -> list[str]:
    return [n.op_type for n in all_nodes(model.graph)]


def _opset(model: onnx.ModelProto) -> int:
    return next(o.version for o in model.opset_import if o.domain == "")


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Step]:
    """Run one made-up pass on a model and return its only step."""

    def try_pass(model: onnx.ModelProto, change: Callable[[onnx.ModelProto], object]) -> Step:
        def changed(source: onnx.ModelProto) -> onnx.ModelProto:
            copy = copy_of(source)
            result = change(copy)
            return result if isinstance(result, onnx.ModelProto) else copy

        monkeypatch.setitem(PASSES, "new", Pass("new", "made up", "a library", changed))
        found = simplify(model, only=["new"])
        assert found.model is (model if not found.steps[0].kept else found.model)
        return found.steps[0]

    return try_pass


def test_every_pass_has_its_untidy_graph() -> None:
    elsewhere = {  # below, and in test_merging
        "fold_symbolic_shapes",
        "merge_reshapes",
        "drop_zero_states",
        "merge_products",
        "strip_metadata",
        "remove_initializer_from_input",
        "inline_functions",
        "raise_opset",
        "slim",
    }
    assert {case.step for case in UNTIDY} | elsewhere == set(PASSES)
    assert all(p.name == name and p.description for name, p in PASSES.items())


@pytest.mark.parametrize("case", UNTIDY, ids=lambda case: case.name)
def test_each_pass_does_what_its_name_says(case: Untidy) -> None:
    found = simplify(case.model, only=[case.step])
    (step,) = found.steps
    assert step.kept, step.reason
    assert step.name == case.step
    assert len(found.model.graph.node) == step.nodes_after == case.nodes
    assert len(case.model.graph.node) == step.nodes_before
    assert (step.bytes_before, step.bytes_after) == (case.model.ByteSize(), found.model.ByteSize())
    wanted, got = _outputs(case.model), _outputs(found.model)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
    assert f"{case.step}: kept" in str(step)


@pytest.mark.parametrize("case", UNTIDY, ids=lambda case: case.name)
def test_all_passes_together_leave_no_more(case: Untidy) -> None:
    found = simplify(case.model)
    assert len(found.model.graph.node) <= case.nodes
    assert _opset(found.model) == 17


@pytest.mark.parametrize("build", BUILDERS)
def test_what_callers_see_stays(build: Callable[[], onnx.ModelProto], tmp_path: Path) -> None:
    model = build()
    model.metadata_props.add(key="classes", value="fish\nother")
    model.model_version, model.doc_string = 3, "what it does"
    before = model.SerializeToString(deterministic=True)
    found = simplify(model).model
    assert model.SerializeToString(deterministic=True) == before
    assert found.graph.input == model.graph.input
    assert found.graph.output == model.graph.output
    assert found.metadata_props == model.metadata_props
    assert (found.model_version, found.doc_string, found.producer_name) == (
        3,
        "what it does",
        "tests",
    )
    assert load(save(found, tmp_path / "clean.onnx")) == found


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    build=st.sampled_from(BUILDERS[:3]),
    opset=st.sampled_from([11, 12, 13, 17, 18]),
)
def test_outputs_stay_and_a_second_time_changes_nothing(
    seed: int, build: Callable[..., onnx.ModelProto], opset: int
) -> None:
    model = build(seed=seed, opset=opset)
    found = simplify(model)
    feeds: Feeds = {"input": images(3, seed=seed)}
    wanted, got = _outputs(model, feeds), _outputs(found.model, feeds)
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())
    assert "BatchNormalization" not in _operators(found.model)
    assert _opset(found.model) == max(17, opset)
    again = simplify(found.model)
    assert not [step for step in again.steps if step.kept]
    assert again.model is found.model


def test_batch_norm_folds_and_nodes_are_counted() -> None:
    found = simplify(cnn_with_batch_norm(opset=12))
    fold = next(step for step in found.steps if step.name == "fuse_bn_into_conv")
    assert (fold.nodes_before, fold.nodes_after) == (13, 10)
    assert fold.bytes_after < fold.bytes_before
    assert fold.max_abs_difference < 1e-4


def test_the_fold_that_grows_the_graph_is_undone(added: Callable[..., Step]) -> None:
    step = added(cnn_with_batch_norm(), onnxoptimizer_pass("fuse_bn_into_conv"))
    assert not step.kept
    assert step.nodes_after > step.nodes_before
    assert step.reason == f"adds {step.nodes_after - step.nodes_before} nodes"


def _scale(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    values = numpy_helper.to_array(tensor) * np.float32(1.5)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    model.graph.initializer.append(numpy_helper.from_array(normal(7), "more"))


def _rename(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = "image"
    model.graph.node[0].input[0] = "image"


def _no_output(model: onnx.ModelProto) -> None:
    model.graph.node.pop()


def _fail(model: onnx.ModelProto) -> None:
    raise KeyError("axes")


def _crash_at_run(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Frobnicate"


def _pad_weights(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(normal(900), "more"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_scale, "differs by"),
        (_rename, "the inputs changed"),
        (_no_output, "nothing makes the output"),
        (_fail, "a library failed: 'axes'"),
        (_crash_at_run, "Frobnicate"),
        (_pad_weights, "adds 3,6"),
    ],
)
def test_a_pass_that_makes_it_worse_is_undone_with_the_reason(
    change: Callable[[onnx.ModelProto], object], reason: str, added: Callable[..., Step]
) -> None:
    step = added(one_logit_cnn(), change)
    assert not step.kept
    assert reason in step.reason
    assert "undone" in str(step)


def test_operators_outside_onnx_are_not_brought_in(added: Callable[..., Step]) -> None:
    def swap(model: onnx.ModelProto) -> None:
        model.graph.node[0].domain = "com.microsoft"
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        del model.graph.node[1:]
        model.graph.node[0].output[0] = "y"

    pair = graph([node("Gelu", ["x"], ["a"]), node("Identity", ["a"], ["y"])], opset=20)
    step = added(pair, swap)
    assert step.reason == "brings in com.microsoft:Gelu"
    assert step.max_abs_difference < 1e-5


def test_a_pass_that_changes_only_names_is_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(model: onnx.ModelProto) -> onnx.ModelProto:
        copy = copy_of(model)
        copy.graph.node[0].name = "another"
        return copy

    monkeypatch.setitem(PASSES, "new", replace(PASSES["slim"], name="new", run=rename))
    model = one_logit_cnn()
    found = simplify(model, only=["new"])
    assert found.steps == ()
    assert found.model is model


def test_a_pass_of_no_name_is_refused() -> None:
    with pytest.raises(OptionError, match="'fold_all'"):
        simplify(mlp(), only=["slim", "fold_all"])


def test_only_runs_in_the_order_of_the_passes() -> None:
    model = cnn_with_batch_norm(opset=12)
    found = simplify(model, only=["fuse_bn_into_conv", "raise_opset"])
    assert [step.name for step in found.steps] == ["raise_opset", "fuse_bn_into_conv"]


def test_weights_that_are_inputs_too_come_out_and_fold() -> None:
    model = cnn_with_batch_norm(opset=11)
    model.ir_version = 3
    values = [
        helper.make_tensor_value_info(t.name, t.data_type, list(t.dims))
        for t in model.graph.initializer
    ]
    model.graph.input.extend(values)
    found = simplify(model)
    assert [v.name for v in found.model.graph.input] == ["input"]
    assert "BatchNormalization" not in _operators(found.model)
    feeds: Feeds = {"input": images(2)}
    wanted = _outputs(model, feeds)
    np.testing.assert_allclose(_outputs(found.model, feeds), wanted, rtol=1e-4, atol=1e-5)


def test_functions_are_inlined() -> None:
    opset = [helper.make_opsetid("", 17)]
    body = [node("Relu", ["a"], ["t"]), node("Neg", ["t"], ["b"])]
    function = helper.make_function("own", "F", ["a"], ["b"], body, opset)
    model = graph([node("Neg", ["x"], ["a"]), node("Identity", ["a"], ["y"])])
    model.graph.node[1].CopyFrom(node("F", ["a"], ["y"], domain="own"))
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("own", 1))
    found = simplify(model)
    assert _operators(found.model) == ["Neg", "Relu", "Neg"]
    assert not found.model.functions


def test_exporters_notes_go_and_shapes_of_activations_too() -> None:
    model = onnx.shape_inference.infer_shapes(cnn_with_batch_norm())
    for part in model.graph.node:
        part.doc_string = "traced from line 17 of model.py"
    found = simplify(model, only=["strip_metadata"])
    assert found.steps[0].kept
    assert not found.model.graph.value_info
    assert not any(n.doc_string for n in found.model.graph.node)


def test_slim_folds_what_the_others_leave() -> None:
    weights = {"w": normal(5, 4)}
    pair = [node("Transpose", ["w"], ["a"], perm=[1, 0]), node("Gemm", ["x", "a"], ["y"])]
    found = simplify(graph(pair, weights, shape=(3, 4)), only=["slim"])
    assert found.steps[0].kept
    assert _operators(found.model) == ["Gemm"]


def test_an_opset_that_cannot_be_raised_stays_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_model: onnx.ModelProto, version: int) -> onnx.ModelProto:
        raise ConvertError(f"no adapter to {version}")

    monkeypatch.setattr("onnx.version_converter.convert_version", fail)
    found = simplify(cnn_with_batch_norm(opset=12), only=["raise_opset"])
    assert found.steps[0].reason == "onnx failed: no adapter to 13"
    assert _opset(found.model) == 12


def test_the_opset_is_raised_to_13_where_17_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_17(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
        if version == 17:
            raise ConvertError("no adapter")
        return convert_version(model, version)

    monkeypatch.setattr("onnx.version_converter.convert_version", refuse_17)
    found = simplify(cnn_with_batch_norm(opset=12), only=["raise_opset"])
    assert found.steps[0].kept
    assert _opset(found.model) == 13


def test_outputs_that_are_not_finite_are_the_same_where_they_are_the_same() -> None:
    nodes = [node("Identity", ["x"], ["a"]), node("Log", ["a"], ["b"]), node("Relu", ["b"], ["y"])]
    found = simplify(graph(nodes), only=["eliminate_identity"])
    assert np.isnan(_outputs(found.model)).any()
    assert found.steps[0].kept


def test_small_outputs_are_held_to_their_own_size(added: Callable[..., Step]) -> None:
    def shift(model: onnx.ModelProto) -> None:
        del model.graph.node[0]
        model.graph.node[0].input[0] = "x"
        tensor = numpy_helper.from_array(np.array(1.1e-3, np.float32), "tiny")
        model.graph.initializer[0].CopyFrom(tensor)

    nodes = [node("Identity", ["x"], ["a"]), node("Mul", ["a", "tiny"], ["y"])]
    step = added(graph(nodes, {"tiny": np.float32(1e-3)}), shift)
    assert "differs" in step.reason


def test_real_samples_are_used_for_the_check() -> None:
    model = graph([node("Identity", ["x"], ["a"]), node("Relu", ["a"], ["y"])])
    feeds: Feeds = {"x": -np.ones((1, 4, 8, 8), np.float32)}
    assert prepare(model, [feeds]).outputs[0]["y"].max() == 0
    assert len(simplify(model, [feeds, feeds]).model.graph.node) == 1
    with pytest.raises(ShapeMismatchError):
        simplify(model, [{"x": np.ones((1, 4, 8), np.float32)}])


def test_noise_gives_dimensions_of_one_name_one_size() -> None:
    feeds = noise(
        [
            TensorInfo("image", "float32", ("n", 3, "h", "h")),
            TensorInfo("state", "float16", (2, "n", "?")),
            TensorInfo("steps", "int64", ()),
        ],
        8,
    )
    assert {name: array.shape for name, array in feeds.items()} == {
        "image": (2, 3, 8, 8),
        "state": (2, 2, 8),
        "steps": (),
    }
    assert [str(array.dtype) for array in feeds.values()] == ["float32", "float16", "int64"]


def test_models_with_state_and_integers_are_checked_too() -> None:
    inputs = [
        helper.make_tensor_value_info("tokens", TensorProto.INT64, ["n", "t"]),
        helper.make_tensor_value_info("state", TensorProto.FLOAT, [2, "n", 4]),
        helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
    ]
    outputs = [
        helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["n", "t", 4]),
        helper.make_tensor_value_info("next", TensorProto.FLOAT, [2, "n", 4]),
    ]
    nodes = [
        node("Gather", ["table", "tokens"], ["rows"], axis=0),
        node("Identity", ["rows"], ["vectors"]),
        node("Where", ["flag", "state", "zero"], ["next"]),
    ]
    weights = [
        numpy_helper.from_array(normal(2, 4), "table"),
        numpy_helper.from_array(np.array(0, np.float32), "zero"),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs, weights),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    proof = prepare(model)
    assert proof.outputs[0]["next"].shape == (2, proof.feeds[0]["tokens"].shape[0], 4)
    assert len(simplify(model).model.graph.node) == 2


def test_a_model_that_no_noise_fits_asks_for_samples() -> None:
    nodes = [node("Reshape", ["x", "shape"], ["y"])]
    model = graph(nodes, {"shape": np.array([7, 11, 13])}, shape=("n", "m"))
    with pytest.raises(ShapeMismatchError, match="--data"):
        simplify(model)
    huge = graph([node("Relu", ["x"], ["y"])], shape=(1, 10**5, 10**5))
    with pytest.raises(
        ShapeMismatchError, match=r"random inputs: input 'x' wants .*00., which is too large"
    ):
        simplify(huge)
    words = graph([node("Relu", ["x"], ["y"])], shape=(4,))
    words.graph.node[0].op_type = "StringNormalizer"
    for value in (words.graph.input[0], words.graph.output[0]):
        value.type.tensor_type.elem_type = TensorProto.STRING
    with pytest.raises(ShapeMismatchError, match="input 'x' wants string, which is no number"):
        simplify(words)


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_same_input_gives_the_same_bytes_in_every_process(seed: str, tmp_path: Path) -> None:
    path = save(cnn_with_batch_norm(opset=12), tmp_path / "model.onnx")
    code = (
        "import sys; from pathlib import Path; from sprat import load, save, simplify; "
        "save(simplify(load(Path(sys.argv[1]))).model, Path(sys.argv[2]))"
    )
    out = tmp_path / "out.onnx"
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    subprocess.run([sys.executable, "-c", code, path, out], check=True, env=environment)
    wanted = simplify(load(path)).model.SerializeToString(deterministic=True)
    assert out.read_bytes() == wanted
