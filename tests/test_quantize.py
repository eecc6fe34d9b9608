"""The strategies, through real ONNX Runtime."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from sprat.errors import NoGainError, OptionError, UnsupportedModelError
from sprat.graph.simplify import simplify
from sprat.model.load import save
from sprat.model.nodes import name_nodes
from sprat.model.session import open_session
from sprat.quantization.configs import Config, Dynamic, Float16, Static, Weights
from sprat.quantization.histograms import MOST_BINS, coarsened
from sprat.quantization.quantize import quantize
from sprat.quantization.weights import round_per_channel, weight_axes, with_integers
from sprat.workflow.compare import NotCompared
from sprat.workflow.step import quantize_file
from tests.networks import cnn, feeds, mlp


def clean(model: onnx.ModelProto) -> onnx.ModelProto:
    return name_nodes(simplify(model).model)


def one_by_one(model: onnx.ModelProto, count: int = 16) -> list[dict[str, Any]]:
    batch = feeds(model, count)
    return [{k: v[i : i + 1] for k, v in batch.items()} for i in range(count)]


def signal_to_noise(model: onnx.ModelProto, other: onnx.ModelProto) -> float:
    x = feeds(model, 32, seed=5)
    a, b = (open_session(m).run(None, x)[0].astype(np.float64) for m in (model, other))
    return float(10 * np.log10((a**2).sum() / ((a - b) ** 2).sum()))


@pytest.mark.parametrize(
    ("config", "operator", "least"),
    [
        (Dynamic(), "ConvInteger", 20),
        (Static("minmax"), "QuantizeLinear", 15),
        (Static("entropy"), "QuantizeLinear", 8),
        (Static("percentile"), "QuantizeLinear", 15),
        (Weights(), "DequantizeLinear", 30),
        (Float16(), "Cast", 50),
    ],
)
def test_smaller_and_close(config: Config, operator: str, least: float) -> None:
    model = clean(cnn(opset=12))
    found = quantize(model, config, one_by_one(model))
    assert found.ByteSize() < model.ByteSize()
    assert operator in {n.op_type for n in found.graph.node}
    assert signal_to_noise(model, found) > least
    assert {n.domain for n in found.graph.node} <= {"", "ai.onnx"}


@pytest.mark.parametrize("config", [Dynamic(), Static("minmax"), Weights(), Float16()])
def test_the_same_input_gives_the_same_bytes(config: Config) -> None:
    model = clean(cnn())
    samples = one_by_one(model, 4)
    first, second = (quantize(model, config, samples) for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(
        deterministic=True
    )


def test_excluded_layers_stay_float() -> None:
    model = clean(cnn())
    samples = one_by_one(model, 4)
    convs = [n.name for n in model.graph.node if n.op_type == "Conv"]
    for config in (Dynamic(exclude=(convs[0],)), Static("minmax", exclude=(convs[0],))):
        found = quantize(model, config, samples)
        weight = next(n for n in found.graph.node if n.name.startswith(convs[0])).input[1]
        stored = {t.name: t.data_type for t in found.graph.initializer}
        assert stored[weight] == onnx.TensorProto.FLOAT
    found = quantize(model, Weights(exclude=("w1",)))
    assert any(t.name == "w1" for t in found.graph.initializer)


def test_float16_takes_a_weight_that_is_an_output() -> None:
    """As constant folding leaves a table of priors; the converter gives such an output no maker."""
    model = clean(mlp())
    table = np.linspace(-1, 1, 40, dtype=np.float32).reshape(10, 4)
    model.graph.initializer.append(numpy_helper.from_array(table, "priors"))
    model.graph.output.append(
        helper.make_tensor_value_info("priors", TensorProto.FLOAT, table.shape)
    )
    found = quantize(model, Float16())
    assert [o.name for o in found.graph.output] == [o.name for o in model.graph.output]
    got = open_session(found).run(["priors"], feeds(model, 2))[0]
    assert np.abs(np.asarray(got) - table).max() < 1e-3


def test_nothing_to_do_is_an_error() -> None:
    model = clean(mlp())
    with pytest.raises(NoGainError, match="changed nothing"):
        quantize(model, Weights(exclude=tuple(weight_axes(model))))


@pytest.mark.parametrize("config", [Dynamic(), Static("minmax"), Static("entropy")])
def test_a_weight_that_is_no_number_is_one_error_with_a_hint(config: Config) -> None:
    model = clean(mlp())
    weight = next(t for t in model.graph.initializer if t.name == "w1")
    values = numpy_helper.to_array(weight).copy()
    values[0, 0] = np.nan
    weight.CopyFrom(numpy_helper.from_array(values, "w1"))
    with pytest.raises(UnsupportedModelError, match="step cannot handle this model: ") as caught:
        quantize(model, config, one_by_one(model, 2))
    assert caught.value.hint == "The weight 'w1' holds NaN or inf: export the model again."


def test_inputs_that_no_random_sample_fits_are_not_compared_without_data(tmp_path: Path) -> None:
    node, value = helper.make_node, helper.make_tensor_value_info
    weight = numpy_helper.from_array(np.ones((3, 999), np.float32), "w")
    pooled = [node("GlobalAveragePool", ["x"], ["p"]), node("Flatten", ["p"], ["f"])]
    for shape, more, wanted in (
        ([8192, 8192], False, r"x: the input has the shape \['n', 3, 8192, 8192\], too large"),
        ([8, 8], True, "words: random samples of type string cannot be made"),
    ):
        inputs = [value("x", TensorProto.FLOAT, ["n", 3, *shape])]
        outputs = [value("y", TensorProto.FLOAT, ["n", 999])]
        nodes = [*pooled, node("MatMul", ["f", "w"], ["y"])]
        if more:
            inputs.append(value("words", TensorProto.STRING, ["n"]))
            outputs.append(value("same", TensorProto.STRING, ["n"]))
            nodes.append(node("Identity", ["words"], ["same"]))
        graph = helper.make_graph(nodes, "large", inputs, outputs, [weight])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        path = save(model, tmp_path / "model.onnx")
        out = tmp_path / f"out {more}.onnx"
        found = quantize_file(path, out, "float16")
        assert isinstance(found, NotCompared)
        assert re.search(wanted, found.notes[0])
        assert found.notes[0].endswith("Give real samples with --data.")
        assert out.exists()


def test_twice_is_an_error() -> None:
    once = quantize(clean(mlp()), Weights())
    with pytest.raises(NoGainError):
        quantize(once, Weights())


def test_static_needs_samples_and_opset_13() -> None:
    with pytest.raises(OptionError, match="calibration samples"):
        quantize(clean(cnn()), Static(), [])
    model = name_nodes(cnn(opset=12))
    with pytest.raises(OptionError, match="opset 12"):
        quantize(model, Static(), one_by_one(model, 2))


@given(st.integers(0, 2**31), st.sampled_from([0, 1, 2]))
def test_rounding_per_channel_is_within_half_a_step(seed: int, axis: int) -> None:
    weight = np.random.default_rng(seed).standard_normal((3, 4, 5)).astype(np.float32)
    found = round_per_channel(weight, axis)
    shape = [-1 if i == axis else 1 for i in range(3)]
    scale = found.scales.reshape(shape)
    gap = np.abs(found.values.astype(np.float32) * scale - weight)
    assert (gap <= 0.5001 * scale).all()
    assert found.values.dtype == np.int8


def test_the_file_holds_what_was_decided() -> None:
    model = clean(cnn())
    weight = numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == "w2"))
    tensor = round_per_channel(weight, 0)
    found = with_integers(model, {"w2": tensor})
    stored = {t.name: numpy_helper.to_array(t) for t in found.graph.initializer}
    assert np.array_equal(stored["w2_quantized"], tensor.values)
    assert np.array_equal(stored["w2_scale"], tensor.scales)
    assert Counter(n.op_type for n in found.graph.node)["DequantizeLinear"] == 1


@given(st.integers(1, 40_000), st.floats(1e-3, 1e3))
def test_a_histogram_is_coarsened_without_losing_a_count(half: int, threshold: float) -> None:
    counts = np.random.default_rng(half).integers(0, 9, 2 * half)
    edges = np.linspace(-threshold, threshold, 2 * half + 1).astype(np.float32)
    merged, wider, *_, bound = coarsened((counts, edges, -1, 1, np.float32(threshold)))
    assert len(merged) <= MOST_BINS
    assert len(wider) == len(merged) + 1
    assert merged.sum() == counts.sum()
    assert merged[: len(merged) // 2].sum() == counts[:half].sum()
    assert threshold * (1 - 1e-6) <= bound <= threshold * (1 + 4 / MOST_BINS)


def test_entropy_ends_where_the_first_sample_is_nearly_zero() -> None:
    model = mlp()
    first, *others = one_by_one(model, 4)
    nearly = {name: values * np.float32(1e-3) for name, values in first.items()}
    made = quantize(model, Static(calibration="entropy"), [nearly, *others])
    assert len(made.graph.node) > len(model.graph.node)
