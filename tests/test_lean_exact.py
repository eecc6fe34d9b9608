"""``compile`` judges by what the model means, not by how a runtime shortens the way to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sprat.browser.drive import packed
from sprat.errors import LeanMismatchError, LeanUnsupportedError, ModelFormatError
from sprat.graph.proof import prepare
from sprat.lean.compile import compile_model
from sprat.model.load import load, save
from sprat.model.session import Feeds, open_session, run
from sprat.quantization.configs import Weights
from sprat.quantization.quantize import quantize
from sprat.workflow.compile import compile
from tests.encoders import masked_encoder
from tests.lean import random


def quantized_encoder(folder: Path) -> tuple[Path, Path]:
    """A masked encoder with weights of 8 bits, and its data."""
    model, feeds = masked_encoder()
    save(quantize(model, Weights()), folder / "model.onnx")
    np.savez(folder / "data.npz", allow_pickle=False, **feeds)
    return folder / "model.onnx", folder / "data.npz"


def test_a_masked_encoder_compiles(tmp_path: Path) -> None:
    """ONNX Runtime fuses DequantizeLinear and MatMul, and rounds activations where it does."""
    path, data = quantized_encoder(tmp_path)
    fused, exact = (
        run(open_session(load(path), fold_weights=fold), dict(np.load(data)))["logits"].astype(
            float
        )
        for fold in (False, True)
    )
    assert np.abs(fused - exact).max() > 1e-3 * np.abs(exact).max(), "nothing is fused any more"
    assert compile(path, tmp_path / "out", data=data).largest < 1e-4


def test_proofs_on_noise_hold_against_the_exact_answers(tmp_path: Path) -> None:
    path, data = quantized_encoder(tmp_path)
    feeds: Feeds = {name: values[:8] for name, values in np.load(data).items()}
    exact = run(open_session(load(path), fold_weights=True), feeds)
    assert np.array_equal(prepare(load(path), [feeds]).outputs[0]["logits"], exact["logits"])


def flattened() -> onnx.ModelProto:
    """``x.view(x.size(0), -1)`` as exporters write it, with a free batch."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"], axis=0),
        helper.make_node("Unsqueeze", ["n", "axis"], ["n1"]),
        helper.make_node("Concat", ["n1", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    weights = {
        "zero": np.array(0),
        "axis": np.array([0]),
        "rest": np.array([-1]),
        "w": random(12, 5),
    }
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "flattened",
        [value("x", TensorProto.FLOAT, ["n", 3, 4])],
        [value("y", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_shape_from_the_batch_compiles(tmp_path: Path) -> None:
    """A folded number has no axis: Unsqueeze made two of it."""
    path = save(flattened(), tmp_path / "model.onnx")
    assert compile(path, tmp_path / "out").largest < 1e-5


def test_a_number_reaches_the_page_without_an_axis() -> None:
    from safetensors.numpy import load as read

    sent: Feeds = {"x": np.array(3.5, np.float32), "y": np.ones((3, 2), np.float32).T}
    got = read(packed(sent))
    assert (got["x"].shape, got["y"].shape) == ((), (2, 3))
    assert np.array_equal(got["y"], sent["y"])


def cast(to: int) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Cast", ["r"], ["y"], to=to)],
        "cast",
        [value("x", TensorProto.FLOAT, [1, 4])],
        [value("y", to, [1, 4])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("to", "name"), [(TensorProto.FLOAT16, "float16"), (TensorProto.DOUBLE, "float64")]
)
def test_outputs_of_other_floats_are_refused_by_name(to: int, name: str) -> None:
    with pytest.raises(LeanUnsupportedError) as caught:
        compile_model(cast(to))
    assert str(caught.value) == (
        f"output 'y': an output of type {name} is not there in the lean runtime. "
        "Let the model end in float32, or use ONNX Runtime Web for it."
    )


def test_an_output_of_another_type_or_shape_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(flattened(), tmp_path / "model.onnx")

    def turned(*given: Any) -> Any:
        return {name: values.T for name, values in run(*given).items()}

    monkeypatch.setattr("sprat.workflow.compile.run", turned)
    with pytest.raises(LeanMismatchError) as caught:
        compile(path, tmp_path / "out")
    assert "is float32[1, 5], native gives float32[5, 1]" in caught.value.what


def test_an_attribute_of_no_function_is_refused(tmp_path: Path) -> None:
    model = cast(TensorProto.FLOAT)
    attribute = model.graph.node[1].attribute[0]
    attribute.ClearField("i")
    attribute.ref_attr_name = "to"
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    with pytest.raises(ModelFormatError) as caught:
        compile(path, tmp_path / "out")
    assert "refers to the attribute 'to' of a function, and is in none" in caught.value.what
