"""Rate-distortion rounding: its laws, and the file that comes out."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

import sprat
from sprat.errors import ConstantAnswerError, NoGainError, OptionError
from sprat.graph.simplify import simplify
from sprat.model.load import load
from sprat.model.nodes import name_nodes
from sprat.model.session import open_session, predict, run
from sprat.model.wire import brotli_bytes
from sprat.quantization.configs import RateDistortion, Static
from sprat.quantization.rate_distortion import (
    Prepared,
    at_bits,
    integer_graph,
    moments,
    pack,
    prepare,
)
from sprat.quantization.rate_distortion.biases import shorten
from sprat.quantization.rate_distortion.choice import choose, cost, temper
from sprat.quantization.rate_distortion.engine import expanded
from sprat.quantization.rate_distortion.layers import find_layers, weight_of
from sprat.quantization.rate_distortion.look import Look, relative_error, replaced
from sprat.quantization.rate_distortion.measure import divided, measure
from sprat.quantization.rate_distortion.part import COARSENESS, multiplied, round_part
from sprat.quantization.rate_distortion.refit import last_layers, refit
from sprat.quantization.rate_distortion.rounding import (
    bit_costs,
    entropy_bits,
    inverse_factor,
    nearest,
    output_error,
    round_best,
    round_rows,
    row_errors,
)
from tests.networks import build, cnn, feeds, mlp

EXAMPLE = Path(__file__).parents[1] / "examples/doodles/doodles.onnx"


def divergence(reference: Any, model: Any) -> float:
    gaps = [np.mean((a["y"] - b["y"]) ** 2) for a, b in zip(reference, model, strict=True)]
    return float(np.mean(gaps))


def batches(model: onnx.ModelProto, count: int = 8) -> list[dict[str, Any]]:
    return [feeds(model, 4, seed=i) for i in range(count)]


def prepared(model: onnx.ModelProto) -> Prepared:
    clean = name_nodes(simplify(model).model)
    return prepare(clean, batches(clean), divergence)


def correlated(seed: int, outputs: int, columns: int) -> tuple[Any, Any]:
    """Weights, and the second moment of inputs that hang together."""
    random = np.random.default_rng(seed)
    mix = random.standard_normal((columns, columns))
    x = random.standard_normal((4 * columns, columns)) @ mix
    return random.standard_normal((outputs, columns)), (x.T @ x / len(x)).astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**31), st.integers(2, 40), st.floats(0.05, 2.0), st.sampled_from([0.0, 0.1, 1])
)
def test_error_feedback_is_never_worse_than_nearest(
    seed: int, columns: int, step: float, price: float
) -> None:
    weights, moment = correlated(seed, 16, columns)
    steps, prices = np.full(16, step), np.full(16, price)
    factor = inverse_factor(moment, 1e-6)
    plain = nearest(weights, steps)
    bits = bit_costs(plain)
    rounded = round_best(weights, factor, steps, prices, bits)

    def cost(integers: Any) -> Any:
        paid = price * bits[integers.astype(int) + 127].sum(axis=1)
        return row_errors(weights - integers * steps[:, None], factor) + paid

    assert (cost(rounded) <= cost(plain) + 1e-9).all()


def test_error_feedback_is_better_where_it_can_be() -> None:
    weights, moment = correlated(1, 64, 32)
    steps, free = np.full(64, 0.5), np.zeros(64)
    factor = inverse_factor(moment, 1e-6)
    plain = nearest(weights, steps)
    fed = round_rows(weights, factor, steps, free, bit_costs(plain))
    errors = [output_error(q * 0.5 - weights, moment) for q in (fed, plain)]
    assert errors[0] < 0.5 * errors[1]


@pytest.mark.parametrize("columns", [12, 700])  # more than a block of them, too
def test_row_errors_are_those_of_the_moment(columns: int) -> None:
    weights, moment = correlated(2, 8, columns)
    factor = inverse_factor(moment, 0.0)
    wanted = np.einsum("ok,kl,ol->o", weights, moment, weights)
    assert np.allclose(row_errors(weights, factor), wanted, rtol=1e-3)


def test_the_factor_is_of_the_inverse() -> None:
    _, moment = correlated(0, 1, 12)
    factor = inverse_factor(moment, 0.1).astype(np.float64)
    damped = moment + 0.1 * np.mean(np.diag(moment)) * np.eye(12)
    assert np.allclose(factor.T @ factor, np.linalg.inv(damped), rtol=1e-4, atol=1e-6)
    assert np.allclose(factor, np.triu(factor))


def test_a_moment_without_information_feeds_nothing_back() -> None:
    factor = inverse_factor(np.zeros((4, 4), np.float32), 0.01)
    assert np.allclose(factor, np.diag(np.diag(factor)))


def grouped() -> onnx.ModelProto:
    """Every kind of layer: strides, dilations, pads, groups, one axis, both MatMul and Gemm."""
    node = helper.make_node
    random = np.random.default_rng(0)

    def weight(*shape: int) -> Any:
        return (random.standard_normal(shape) / np.prod(shape[1:]) ** 0.5).astype(np.float32)

    nodes = [
        node("Conv", ["x", "a"], ["ca"], name="odd", pads=[1, 0, 2, 1], strides=[2, 1]),
        node("Conv", ["ca", "b"], ["cb"], name="holes", dilations=[2, 2], group=2),
        node("Conv", ["cb", "c"], ["cc"], name="depth", group=16, auto_pad="SAME_UPPER"),
        node("ReduceMean", ["cc"], ["line"], axes=[3], keepdims=0),
        node("Conv", ["line", "d"], ["cd"], name="one", pads=[1, 1]),
        node("GlobalAveragePool", ["cd"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("MatMul", ["f", "e"], ["m"], name="mat"),
        node("Gemm", ["m", "h"], ["y"], name="gemm", alpha=0.5),
    ]
    weights = {
        "a": weight(16, 3, 3, 3),
        "b": weight(16, 8, 3, 3),
        "c": weight(16, 1, 5, 5),
        "d": weight(24, 16, 3),
        "e": weight(24, 64),
        "h": weight(64, 8),
    }
    return build(nodes, weights, {"x": ["n", 3, 16, 16]}, {"y": ["n", 8]})


def turned() -> onnx.ModelProto:
    """A Gemm that takes its input's columns as samples."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["xt"], name="turn"),
        helper.make_node("Gemm", ["xt", "w"], ["y"], name="gemm", transA=1, alpha=0.5),
    ]
    weights = {"w": np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)}
    return build(nodes, weights, {"x": ["n", 64]}, {"y": ["n", 32]})


@pytest.mark.parametrize("model", [name_nodes(grouped()), name_nodes(turned())])
def test_patches_times_weights_are_the_layer_s_output(model: onnx.ModelProto) -> None:
    x = feeds(model, 3)
    for layer in find_layers(model):
        node = next(n for n in model.graph.node if n.name == layer.node)
        probe = onnx.ModelProto()
        probe.CopyFrom(model)
        probe.graph.output.append(helper.make_empty_tensor_value_info(layer.source))
        probe.graph.output.append(helper.make_empty_tensor_value_info(node.output[0]))
        known = {**x}
        names = [n for n in (layer.source, node.output[0]) if n not in known]
        known |= dict(zip(names, open_session(probe).run(names, x), strict=True))
        vectors = layer.patches(known[layer.source], 10**6, 0)
        matrix = layer.matrix(weight_of(model, layer.name))
        product = np.einsum("gnk,gok->gno", vectors, matrix)
        output = known[node.output[0]]
        channels = np.moveaxis(output, 1, -1).reshape(-1, output.shape[1])
        joined = product.transpose(1, 0, 2).reshape(len(channels), -1)
        scale = 0.5 if layer.operator == "Gemm" else 1.0
        assert np.allclose(scale * joined, channels, atol=1e-4), layer.node
        assert np.array_equal(layer.stored(matrix), weight_of(model, layer.name))


@pytest.mark.parametrize("model", [cnn(4), cnn(4, group=4), mlp(), grouped()])
def test_the_file_holds_what_was_decided(model: onnx.ModelProto) -> None:
    ready = prepared(model)
    point = ready.quantize(1e-5)
    wanted = expanded(point)
    x = feeds(ready.model, 5, seed=9)
    (answer,) = open_session(replaced(ready.model, wanted)).run(None, x)
    for form in ("int8", "int4"):
        packed = pack(ready.model, point, form)
        onnx.checker.check_model(packed)
        (got,) = open_session(packed, fold_weights=True).run(None, x)
        assert np.array_equal(got, answer)
    stored = {t.name: t for t in pack(ready.model, point, "int8").graph.initializer}
    for name, values in point.integers.items():
        assert np.array_equal(numpy_helper.to_array(stored[f"{name}_quantized"]), values)
        assert np.array_equal(numpy_helper.to_array(stored[f"{name}_scale"]), point.steps[name])
    short = [stored[f"{name}_scale"] for name in point.integers]
    short += [stored[name] for name in point.biases]
    for tensor in short:
        assert not (numpy_helper.to_array(tensor).view(np.uint32) & 0xFFFF).any()


@given(st.floats(-1e30, 1e30), st.sampled_from([8, 12, 16]), st.sampled_from(["nearest", "up"]))
def test_a_short_float_is_near_and_its_last_bits_are_zero(
    value: float, bits: int, rounding: Literal["nearest", "up"]
) -> None:
    short = shorten(np.array([value]), bits, rounding=rounding)
    allowed = abs(value) * 2.0**-bits * (2 if rounding == "up" else 1)
    tiny = abs(value) < 1e-37
    assert abs(float(short[0]) - value) <= allowed + 1e-38
    assert rounding == "nearest" or tiny or abs(float(short[0])) >= abs(value)
    assert not int(short.view(np.uint32)[0]) % (1 << (24 - bits)) or tiny
    assert np.array_equal(shorten(short, bits, rounding=rounding), short)


@pytest.mark.parametrize("model", [cnn(4, group=2), mlp(), load(EXAMPLE)])
def test_a_look_from_a_node_sees_what_a_look_at_the_whole_sees(model: onnx.ModelProto) -> None:
    clean = name_nodes(simplify(model).model)
    held = batches(clean, 4)
    reference = list(predict(open_session(clean), held))
    look = rest = Look(clean, held, reference, relative_error)
    cuts = 0
    for layer in find_layers(clean):
        rest = rest.from_node(layer.node)
        cuts += rest is not look
        weight = weight_of(clean, layer.name)
        changed = {layer.name: weight + np.float32(0.1) * np.abs(weight).max()}
        assert rest.at(changed) == pytest.approx(look.at(changed), rel=1e-3)
    assert cuts
    assert len(rest.model.graph.node) < len(clean.graph.node)


def test_moments_are_those_of_the_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "_BLOCK", 7)
    model = name_nodes(simplify(cnn(4, group=2)).model)
    samples = batches(model, 3)
    layers = find_layers(model)
    found = moments.input_moments(model, layers, samples)
    for layer in layers:
        session = open_session(moments.exposed(model, [layer.source]))
        values = [(fed | run(session, fed))[layer.source] for fed in samples]
        vectors = np.concatenate([layer.patches(x, moments.POSITIONS, 0) for x in values], axis=1)
        wanted = np.einsum("gnk,gnl->gkl", vectors, vectors, dtype=np.float64) / vectors.shape[1]
        assert np.allclose(found[layer.name].second, wanted, rtol=1e-3, atol=1e-5)
        assert np.array_equal(found[layer.name].second, found[layer.name].second.transpose(0, 2, 1))
        assert np.allclose(found[layer.name].mean, vectors.mean(axis=1), rtol=1e-3, atol=1e-5)
        assert found[layer.name].vectors == vectors.shape[1]


def test_a_layer_keeps_its_mean_output() -> None:
    model = name_nodes(cnn(4))
    batches = [feeds(model, 8, seed=i) for i in range(8)]
    ready = replace(prepare(model, batches, divergence), again=None)
    point = ready.quantize(1e-3)
    for part in ready.parts:
        if part.bias is None:
            continue
        matrix = part.layer.matrix(expanded(point)[part.layer.name]).astype(np.float64)
        means = [
            np.einsum("gok,gk->go", weights, part.mean).ravel() + bias
            for weights, bias in (
                (part.weights, part.bias.astype(np.float64)),
                (matrix, point.biases[part.layer.bias].astype(np.float64)),
            )
        ]
        short = np.abs(point.biases[part.layer.bias]) / 256 + 1e-6
        assert (np.abs(means[0] - means[1]) <= short).all()
        assert not np.array_equal(part.bias, point.biases[part.layer.bias])


def test_last_layers_fitted_anew_bring_the_output_nearer() -> None:
    model = name_nodes(simplify(load(EXAMPLE)).model)
    random = np.random.default_rng(1)
    drawn = [
        {"input": (random.random((8, 1, 64, 64)) < share).astype(np.float32)}
        for share in np.linspace(0.02, 0.3, 40)
    ]
    fitted, fresh = drawn[::2], drawn[1::2]
    ready = prepare(model, fitted, relative_error)
    look = Look(model, fresh, list(predict(open_session(model), fresh)), relative_error)
    rate = 3e-9
    plain = replace(ready, again=None).quantize(rate)
    point = ready.quantize(rate)
    assert look.at(expanded(point)) < 0.9 * look.at(expanded(plain))
    changed = {n for n, v in point.integers.items() if not np.array_equal(v, plain.integers[n])}
    assert changed == last_layers(model, find_layers(model))
    assert len(changed) == 1
    assert point.bits == pytest.approx(plain.bits, rel=0.1)


def test_behind_a_last_layer_no_other_lies() -> None:
    weights = {n: np.ones((64, 64), np.float32) for n in ("a", "b", "c", "d")}
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["first"]),
        helper.make_node("Relu", ["first"], ["r"]),
        helper.make_node("MatMul", ["r", "b"], ["y"]),
        helper.make_node("MatMul", ["r", "c"], ["middle"]),
        helper.make_node("MatMul", ["middle", "d"], ["z"]),
    ]
    model = name_nodes(build(nodes, weights, {"x": [8, 64]}, {"y": [8, 64], "z": [8, 64]}))
    layers = find_layers(model)
    assert last_layers(model, layers) == {"b", "d"}
    samples: list[dict[str, Any]] = [{"x": np.eye(8, 64, i, np.float32)} for i in range(8)]
    found = measure(model, samples)
    assert refit(model, found.prepared[0].parts, samples) is None


def test_a_bias_with_another_use_is_nobody_s() -> None:
    model = name_nodes(cnn(4))
    layer = next(layer for layer in find_layers(model) if layer.bias)
    (size,) = next(tuple(t.dims) for t in model.graph.initializer if t.name == layer.bias)
    model.graph.node.append(helper.make_node("Identity", [layer.bias], ["twice"]))
    twice = helper.make_tensor_value_info("twice", onnx.TensorProto.FLOAT, [size])
    model.graph.output.append(twice)
    found = {layer.name: layer.bias for layer in find_layers(model)}
    assert found[layer.name] == ""


@pytest.mark.parametrize(("shape", "own"), [([8], True), ([1, 8], True), ([8, 1], False)])
def test_a_sum_is_a_bias_only_along_the_channels(shape: list[int], own: bool) -> None:
    weights = {
        "w": np.ones((64, 8), np.float32),
        "b": np.arange(8, dtype=np.float32).reshape(shape),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Add", ["b", "m"], ["y"]),
    ]
    model = name_nodes(build(nodes, weights, {"x": [8, 64]}, {"y": [8, 8]}))
    (layer,) = find_layers(model)
    assert layer.bias == ("b" if own else "")


def test_four_bits_are_packed_low_half_first() -> None:
    ready = prepared(cnn(4))
    point = ready.quantize(1e-3)
    packed = pack(ready.model, point, "int4")
    small = [t for t in packed.graph.initializer if t.data_type == onnx.TensorProto.INT4]
    assert small
    for tensor in small:
        name = tensor.name.removesuffix("_quantized")
        assert np.array_equal(numpy_helper.to_array(tensor).astype(np.int8), point.integers[name])


def test_a_dearer_bit_makes_a_smaller_model() -> None:
    ready = prepared(cnn(4))
    bits = [ready.quantize(rate).bits for rate in (1e-6, 1e-5, 1e-4)]
    assert bits == sorted(bits, reverse=True)
    assert bits[0] > bits[-1]


@pytest.mark.parametrize("price", [1e-12, 1e-9])
def test_one_large_weight_does_not_coarsen_the_other_channels(price: float) -> None:
    part = next(p for p in prepared(mlp()).parts if p.spacing == "layer")
    weights = part.weights.copy()
    weights[0, 0, 0] = 1000 * np.abs(weights).max()
    rounded, steps = round_part(replace(part, weights=weights), price, COARSENESS)
    gap = np.abs(weights - multiplied(rounded, steps))[0, 1:]
    assert np.all(gap.max(axis=1) <= 0.05 * np.abs(weights[0, 1:]).max(axis=1))
    dear, one = round_part(replace(part, weights=weights), 1e30, COARSENESS)
    assert one.ndim == 0
    assert not dear.any()


def test_few_bits_are_given_and_too_few_are_one_error() -> None:
    ready = prepared(mlp())
    weights = sum(part.weights.size for part in ready.parts)
    assert 1.4 < at_bits(ready, 1.5).bits / weights < 1.6
    for bits in (1e-6, 1e-3, 0.05):
        with pytest.raises((OptionError, ConstantAnswerError)):
            at_bits(ready, bits)
    plain = replace(ready, checks=None)
    assert 0 < at_bits(plain, 0.05).bits / weights < 0.2


def test_bits_that_a_layer_needs_are_not_taken_from_it() -> None:
    with pytest.raises(OptionError, match=r"0\.05 bits a weight take most of") as caught:
        at_bits(prepared(cnn(4)), 0.05)
    assert caught.value.where == "--bits-per-weight"
    assert "the nearest point has 0." in caught.value.what


def test_the_same_input_gives_the_same_integers_on_any_number_of_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = []
    for threads in ("1", "2"):
        monkeypatch.setitem(os.environ, "SPRAT_THREADS", threads)
        ready = prepared(grouped())
        packed = pack(ready.model, ready.quantize(1e-5), "int8")
        found.append(packed.SerializeToString(deterministic=True))
    assert found[0] == found[1]


MOMENTS = """
import hashlib
from pathlib import Path
import numpy as np
from sprat.model.load import load
from sprat.model.nodes import name_nodes
from sprat.quantization.rate_distortion.layers import find_layers
from sprat.quantization.rate_distortion.moments import input_moments
model = name_nodes(load(Path("examples/doodles/doodles.onnx")))
draw = np.random.default_rng(0)
samples = [{"input": draw.random((8, 1, 64, 64), np.float32)} for _ in range(2)]
found = input_moments(model, find_layers(model), samples)
print(hashlib.sha256(b"".join(m.second.tobytes() for m in found.values())).hexdigest())
"""


def test_a_fresh_process_measures_the_same_whatever_threads_blas_would_take() -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", MOMENTS],
            env={**os.environ, "OPENBLAS_NUM_THREADS": threads},
            cwd=EXAMPLE.parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(found) == 1


@pytest.mark.parametrize("rate", [3e-11, 2e-10, 1e-9])
def test_estimated_bits_are_near_br_11_on_a_whole_model(rate: float) -> None:
    model = name_nodes(simplify(load(EXAMPLE)).model)
    random = np.random.default_rng(0)
    samples: list[dict[str, Any]] = [
        {"input": np.sign(random.standard_normal((8, 1, 64, 64))).astype(np.float32)}
        for _ in range(8)
    ]

    def output(reference: Any, other: Any) -> float:
        pairs = zip(reference, other, strict=True)
        return float(np.mean([np.mean((a["output"] - b["output"]) ** 2) for a, b in pairs]))

    ready = prepare(model, samples, output)
    point = ready.quantize(rate)
    weights = sum(q.size for q in point.integers.values())
    assert 1 < point.bits / weights < 6
    raw = b"".join(q.tobytes() for q in point.integers.values())
    assert abs(brotli_bytes(raw) * 8 / point.bits - 1) < 0.03


def test_integers_survive_in_an_integer_graph() -> None:
    ready = prepared(cnn(4))
    point = ready.quantize(1e-5)
    one = [{"x": f["x"][:1]} for f in batches(ready.model)]
    found = integer_graph(ready.model, point, one, Static())
    kept = [
        numpy_helper.to_array(t)
        for t in found.graph.initializer
        if t.data_type == onnx.TensorProto.INT8 and len(t.dims) > 1
    ]
    for values in point.integers.values():
        assert any(np.array_equal(values, k) for k in kept)


def test_integers_of_8_bits_become_7_in_an_integer_graph() -> None:
    ready = prepared(cnn(4))
    point = ready.quantize(1e-12)
    assert max(np.abs(values.astype(int)).max() for values in point.integers.values()) > 64
    one = [{"x": f["x"][:1]} for f in batches(ready.model)]
    found = integer_graph(ready.model, point, one, Static())
    weights = [t for t in found.graph.initializer if t.data_type == onnx.TensorProto.INT8]
    assert len([t for t in weights if len(t.dims) > 1]) >= len(point.integers)
    for tensor in weights:
        assert np.abs(numpy_helper.to_array(tensor).astype(int)).max() <= 64


def test_tempering_keeps_the_mean_and_the_order() -> None:
    ready = prepared(grouped())
    flat = [part.sensitivity for part in temper(ready, 0.0).parts]
    assert np.allclose(flat, flat[0])
    half = [part.sensitivity for part in temper(ready, 0.5).parts]
    whole = [part.sensitivity for part in ready.parts]
    assert np.argsort(half).tolist() == np.argsort(whole).tolist()
    assert np.allclose(np.array(half) ** 2 / flat[0], whole)


def test_the_way_that_does_best_as_a_whole_is_chosen() -> None:
    clean = name_nodes(simplify(grouped()).model)
    ways = measure(clean, batches(clean), divergence)
    best = choose(ways)
    assert len(ways.prepared) == 2
    assert cost(ways, best, ways.rate) <= min(cost(ways, w, ways.rate) for w in ways.prepared)
    assert choose(replace(ways, prepared=ways.prepared[:1])) is ways.prepared[0]


@pytest.mark.parametrize(("count", "size"), [(4, 1), (9, 2), (128, 4), (256, 4), (999, 1)])
def test_a_quarter_is_held_out_and_of_many_samples_less(count: int, size: int) -> None:
    numbers = np.arange(count * size).reshape(count, size)
    samples: list[dict[str, Any]] = [{"n": np.array(1), "x": part} for part in numbers]
    fitted, held = divided(samples)
    both = [part["x"][0] for part in (*fitted, *held)]
    assert sorted(both) == [part["x"][0] for part in samples]
    assert len(held) == min(count // 4, count // (count * size // 128 or 1))


def test_nothing_to_quantize_and_too_few_samples() -> None:
    same = build([helper.make_node("Relu", ["x"], ["y"])], {}, {"x": ["n", 2]}, {"y": ["n", 2]})
    with pytest.raises(NoGainError):
        prepare(name_nodes(same), batches(same), divergence)
    model = name_nodes(mlp())
    with pytest.raises(OptionError, match="at least 4"):
        prepare(model, batches(model, 3), divergence)


@pytest.mark.parametrize("bits", [0.0, -1.0, 9.0, float("nan")])
def test_bits_that_cannot_be_are_refused(bits: float) -> None:
    model = mlp()
    wanted = f"--bits-per-weight: must be above 0 and at most 8, got {bits:g}"
    with pytest.raises(OptionError, match=wanted):
        sprat.quantize(model, RateDistortion(bits), batches(model))


def test_a_model_of_zeros_has_no_bits_to_give() -> None:
    model = mlp()
    for name in ("w1", "w2"):
        model = replaced(model, {name: np.zeros_like(weight_of(model, name))})
    with pytest.raises(OptionError, match="2 bits a weight leave no weight but zeros") as caught:
        sprat.quantize(model, RateDistortion(2.0), batches(model))
    assert caught.value.where == "--bits-per-weight"
    assert "Give more bits" in caught.value.hint


def test_entropy_of_one_symbol_is_zero() -> None:
    assert entropy_bits(np.zeros((4, 4), np.int8)) == 0
    assert entropy_bits(np.array([[0, 1], [0, 1]], np.int8)) == pytest.approx(4)
