"""What the quantizers cannot do ends soon, with the true reason."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sprat.errors import NoGainError, SpratError, UnsupportedModelError
from sprat.model.inspect import inspect
from sprat.model.session import Feeds
from sprat.quantization.configs import Float16, Static, Weights
from sprat.quantization.ort import calibrate
from sprat.quantization.quantize import quantize
from tests.models import images, mlp, one_logit_cnn

_VALUE = helper.make_tensor_value_info


def _model(
    nodes: list[onnx.NodeProto],
    shape: list[int | str],
    weights: dict[str, object],
    *,
    ml: bool = False,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "small",
        [_VALUE("x", TensorProto.FLOAT, shape)],
        [_VALUE("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17)] + ([helper.make_opsetid("ai.onnx.ml", 3)] if ml else [])
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def test_static_ends_on_a_quantized_model_with_a_pad() -> None:
    """ONNX Runtime's loop over shared scales had no end here."""
    weight = np.random.default_rng(0).standard_normal((16, 3, 3, 3)).astype(np.float32)
    node = helper.make_node
    nodes = [
        node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        node("Pad", ["d", "pads"], ["p"]),
        node("Conv", ["p", "w"], ["y"]),
    ]
    weights = {
        "scale": np.float32(0.05),
        "zero": np.uint8(128),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "w": weight,
    }
    model = _model(nodes, ["n", 3, 8, 8], weights)
    samples: list[Feeds] = [{"x": images(1, seed=i)[:, :, :8, :8]} for i in range(2)]
    try:
        made = quantize(model, Static(), samples)
    except SpratError:
        return  # refused: an end as well
    assert "DequantizeLinear" in [n.op_type for n in made.graph.node]


def test_float16_beyond_its_range_is_refused() -> None:
    model = mlp()
    for tensor in model.graph.initializer:
        if tensor.name == "w1":
            big = numpy_helper.to_array(tensor) * np.float32(1e5)
            tensor.CopyFrom(numpy_helper.from_array(big.astype(np.float32), "w1"))
    # ONNX Runtime computes in float32 between its casts; what only moves values stays float16.
    twice = helper.make_node("Concat", ["output", "output"], ["twice"], axis=1)
    model.graph.node.append(twice)
    model.graph.output[0].name = "twice"
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 8
    with pytest.raises(UnsupportedModelError, match="no numbers any more") as caught:
        quantize(model, Float16())
    assert "--exclude" in caught.value.hint
    assert quantize(mlp(), Float16())


def test_small_weights_are_called_small() -> None:
    weight = np.ones((8, 8), np.float32)
    model = _model([helper.make_node("MatMul", ["x", "w"], ["y"])], ["n", 8], {"w": weight})
    with pytest.raises(NoGainError, match="its largest weight has 64 numbers"):
        quantize(model, Weights())


def test_a_calibration_that_fails_names_the_cause() -> None:
    """A mask of the lowest float is no NaN; a NaN is named with its place."""
    low = np.float32(np.finfo(np.float32).min)
    nodes = [
        helper.make_node("Mul", ["x", "low"], ["m"]),
        helper.make_node("MatMul", ["m", "w"], ["y"]),
    ]
    weight = np.ones((32, 64), np.float32)
    model = _model(nodes, ["n", 32], {"low": low, "w": weight})
    sample = np.linspace(0, 1, 32, dtype=np.float32)[None]
    with pytest.raises(UnsupportedModelError) as caught:
        calibrate(model, [{"x": sample}], "entropy")
    assert "NaN" not in caught.value.hint
    broken = sample.copy()
    broken[0, 3] = np.nan
    with pytest.raises(UnsupportedModelError, match="samples hold NaN or inf in 'x'"):
        calibrate(model, [{"x": broken}], "entropy")


@pytest.mark.parametrize(
    ("kind", "said"), [("tree", "scikit-learn"), ("float64", "sprat optimize")]
)
def test_inspect_says_what_a_model_consists_of(kind: str, said: str, tmp_path: Path) -> None:
    if kind == "tree":
        node = helper.make_node("Normalizer", ["x"], ["y"], domain="ai.onnx.ml", norm="L2")
        model = _model([node], ["n", 8], {}, ml=True)
    else:
        weight = np.ones((64, 64))
        model = _model([helper.make_node("MatMul", ["x", "w"], ["y"])], ["n", 64], {"w": weight})
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    onnx.save(model, tmp_path / "model.onnx")
    advice = inspect(tmp_path / "model.onnx").advice
    assert said in f"{advice[0].command} {advice[0].why}"
    assert not any("float16 already" in one.why for one in advice)


def test_no_coloured_warning_of_the_runtime_leaks(tmp_path: Path) -> None:
    """An initializer that nobody uses is worth a coloured warning to ONNX Runtime."""
    model = one_logit_cnn()
    model.graph.initializer.append(numpy_helper.from_array(np.ones(4, np.float32), "unused"))
    onnx.save(model, tmp_path / "model.onnx")
    np.savez(tmp_path / "data.npz", input=images(24))
    for method, data in (("dynamic", []), ("static", ["--data", "data.npz"])):
        command = [sys.executable, "-m", "sprat", "quantize", "model.onnx", "--method", method]
        done = subprocess.run(
            [*command, *data, "-o", "out.onnx"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "\x1b[" not in done.stderr
        assert "onnxruntime" not in done.stderr
