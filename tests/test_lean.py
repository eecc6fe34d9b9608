"""The lean runtime: what it computes is native's, what it cannot do it names, and nothing leaks."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sprat.browser.lean import Case, answers, find_node
from sprat.errors import LeanMismatchError, LeanUnsupportedError
from sprat.lean.compile import compile_model
from sprat.lean.operators import OPERATORS
from sprat.lean.plan import Plan, plan_text, schema_text
from sprat.model.load import load, save
from sprat.quantization.configs import Float16, RateDistortion, Weights
from sprat.quantization.quantize import quantize
from sprat.workflow.compile import Trial, checked, compile
from tests.lean import case, gap, gaps, native, noise, random, single
from tests.networks import build, cnn, mlp, table
from tests.random_graphs import network

DOODLES = Path(__file__).parents[1] / "examples/doodles/doodles.onnx"
#: No region, and scales.
TWICE = (np.zeros(0, np.float32), np.array([1, 1, 2, 2], np.float32))
#: Float rounding, summed in another order.
CLOSE = 1e-5


def variants(test: Any) -> Iterator[tuple[onnx.ModelProto, dict[str, Any]]]:
    """A backend test as it is, and with all of its inputs constant but one."""
    arrays = dict(zip((v.name for v in test.model.graph.input), test.data_sets[0][0], strict=False))
    if any(np.asarray(v).dtype.kind not in "fiub" for v in arrays.values()):
        return
    yield test.model, arrays
    for kept in arrays if len(arrays) > 1 else ():
        model = onnx.ModelProto()
        model.CopyFrom(test.model)
        del model.graph.input[:]
        model.graph.input.extend(v for v in test.model.graph.input if v.name == kept)
        model.graph.initializer.extend(
            numpy_helper.from_array(np.asarray(v), n) for n, v in arrays.items() if n != kept
        )
        yield model, {kept: arrays[kept]}


def test_every_node_test_of_onnx_passes_or_is_refused_by_name() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ONNX computes some expected values with overflows
        from onnx.backend.test.loader import load_model_tests

        tests: list[Any] = [t for t in load_model_tests(kind="node") if t.model is not None]
    cases: list[tuple[str, Case, dict[str, Any]]] = []
    refused: set[str] = set()
    for test in tests:
        nodes = test.model.graph.node
        if any(n.op_type not in OPERATORS or n.domain for n in nodes):
            continue
        for model, arrays in variants(test):
            wanted = dict(
                zip((v.name for v in model.graph.output), test.data_sets[0][1], strict=False)
            )
            try:
                cases.append((test.name, case(model, [arrays]), wanted))
            except LeanUnsupportedError as error:
                assert error.where, test.name
                refused.add(test.name)
    wrong = [
        (name, answer.error or gap(wanted, answer.outputs[0]))
        for (name, _, wanted), answer in zip(cases, answers([c for _, c, _ in cases]), strict=True)
        if answer.error or gap(wanted, answer.outputs[0]) > 1e-4
    ]
    assert wrong == []
    assert len({name for name, _, _ in cases}) > 340


def test_random_graphs_answer_as_native_does() -> None:
    found = gaps([network(seed) for seed in range(300)])
    assert max(found) < CLOSE, int(np.argmax(found))


def block(name: str, x: str, channels: int, stride: int) -> tuple[list[Any], dict[str, Any], str]:
    """A residual block of two convolutions."""
    node = helper.make_node
    pads: dict[str, Any] = {"pads": [1, 1, 1, 1]}
    nodes = [
        node("Conv", [x, f"{name}w1", f"{name}b1"], [f"{name}1"], strides=[stride] * 2, **pads),
        node("Relu", [f"{name}1"], [f"{name}2"]),
        node("Conv", [f"{name}2", f"{name}w2", f"{name}b2"], [f"{name}3"], **pads),
        node("Conv", [x, f"{name}w3"], [f"{name}4"], strides=[stride] * 2),
        node("Add", [f"{name}3", f"{name}4"], [f"{name}5"]),
        node("Relu", [f"{name}5"], [f"{name}6"]),
    ]
    before = channels // stride
    weights = {
        f"{name}w1": random(channels, before, 3, 3, seed=1) / 8,
        f"{name}b1": random(channels, seed=2),
        f"{name}w2": random(channels, channels, 3, 3, seed=3) / 8,
        f"{name}b2": random(channels, seed=4),
        f"{name}w3": random(channels, before, 1, 1, seed=5),
    }
    return nodes, weights, f"{name}6"


def residual() -> onnx.ModelProto:
    """What ResNets are made of."""
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], strides=[2, 2], pads=[3, 3, 3, 3]),
        node("Relu", ["c"], ["r"]),
        node("MaxPool", ["r"], ["p"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    ]
    weights = {"w": random(8, 3, 7, 7) / 8, "b": random(8)}
    x = "p"
    for name, channels, stride in (("a", 8, 1), ("b", 16, 2)):
        more, own, x = block(name, x, channels, stride)
        nodes += more
        weights |= own
    nodes += [
        node("GlobalAveragePool", [x], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "wg", "bg"], ["y"], transB=1),
    ]
    weights |= {"wg": random(5, 16), "bg": random(5)}
    return build(nodes, weights, {"x": ["n", 3, 33, 33]}, {"y": ["n", 5]})


def mobile() -> onnx.ModelProto:
    """What MobileNets are made of: expansion, depthwise, squeeze and excitation, hard swish."""
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("HardSigmoid", ["c1"], ["s1"], alpha=1 / 6),
        node("Mul", ["c1", "s1"], ["h1"]),
        node("Conv", ["h1", "w2"], ["c2"]),
        node("BatchNormalization", ["c2", "g", "o", "m", "v"], ["n2"]),
        node("Clip", ["n2", "zero", "six"], ["r2"]),
        node("Conv", ["r2", "w3", "b3"], ["c3"], group=24, pads=[2, 2, 2, 2]),
        node("Sigmoid", ["c3"], ["s3"]),
        node("Mul", ["s3", "c3"], ["h3"]),
        node("GlobalAveragePool", ["h3"], ["p"]),
        node("Conv", ["p", "w4", "b4"], ["c4"]),
        node("HardSigmoid", ["c4"], ["s4"], alpha=0.2),
        node("Mul", ["s4", "h3"], ["e"]),
        node("Conv", ["e", "w5"], ["c5"]),
        node("Add", ["c5", "h1"], ["y"]),
    ]
    weights = {
        "w1": random(8, 3, 3, 3) / 4,
        "b1": random(8),
        "w2": random(24, 8, 1, 1),
        "g": random(24),
        "o": random(24, seed=1),
        "m": random(24, seed=2),
        "v": np.abs(random(24)) + 1,
        "zero": np.float32(0),
        "six": np.float32(6),
        "w3": random(24, 1, 5, 5) / 5,
        "b3": random(24),
        "w4": random(24, 24, 1, 1) / 5,
        "b4": random(24),
        "w5": random(8, 24, 1, 1) / 5,
    }
    return build(nodes, weights, {"x": ["n", 3, 21, 19]}, {"y": ["n", 8, 11, 10]})


def attention() -> onnx.ModelProto:
    """What transformers are made of, with the exporter's reshapes."""
    node = helper.make_node
    nodes = [
        node("LayerNormalization", ["x", "g", "o"], ["n"], axis=-1),
        node("MatMul", ["n", "wq"], ["q0"]),
        node("Add", ["bq", "q0"], ["q1"]),
        node("Reshape", ["q1", "heads"], ["q2"]),
        node("Split", ["q2", "thirds"], ["q", "k", "v"], axis=2),
        node("Squeeze", ["q", "two"], ["qs"]),
        node("Squeeze", ["k", "two"], ["ks"]),
        node("Squeeze", ["v", "two"], ["vs"]),
        node("Transpose", ["qs"], ["qt"], perm=[0, 2, 1, 3]),
        node("Transpose", ["ks"], ["kt"], perm=[0, 2, 3, 1]),
        node("Transpose", ["vs"], ["vt"], perm=[0, 2, 1, 3]),
        node("MatMul", ["qt", "kt"], ["a0"]),
        node("Mul", ["a0", "scale"], ["a1"]),
        node("Softmax", ["a1"], ["a2"], axis=-1),
        node("MatMul", ["a2", "vt"], ["a3"]),
        node("Transpose", ["a3"], ["a4"], perm=[0, 2, 1, 3]),
        node("Reshape", ["a4", "flat"], ["a5"]),
        node("MatMul", ["a5", "wo"], ["p"]),
        node("Add", ["p", "x"], ["r"]),
        node("Div", ["r", "root"], ["e0"]),
        node("Erf", ["e0"], ["e1"]),
        node("Add", ["e1", "one"], ["e2"]),
        node("Mul", ["r", "e2"], ["e3"]),
        node("Mul", ["e3", "half"], ["y"]),
    ]
    weights = {
        "g": random(24),
        "o": random(24, seed=1),
        "wq": random(24, 72) / 5,
        "bq": random(72),
        "heads": np.array([0, 0, 3, 4, 6]),
        "thirds": np.array([1, 1, 1]),
        "two": np.array([2]),
        "scale": np.float32(6**-0.5),
        "flat": np.array([1, -1, 24]),
        "wo": random(24, 24) / 5,
        "root": np.float32(2**0.5),
        "one": np.float32(1),
        "half": np.float32(0.5),
    }
    return build(nodes, weights, {"x": [1, 10, 24]}, {"y": [1, 10, 24]})


def test_usual_networks_answer_as_native_does() -> None:
    models = [residual(), mobile(), attention(), cnn(), cnn(group=4), mlp(), load(DOODLES)]
    assert max(gaps(models)) < CLOSE


def windows(
    height: int,
    width: int,
    channels: int,
    out: int,
    pads: list[int],
    images: int = 1,
    *,
    biased: bool = True,
) -> onnx.ModelProto:
    """A convolution of 3x3 windows with many channels, which has a kernel of its own."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"][: 3 if biased else 2], ["c"], pads=pads),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    weights = {"w": random(out, channels, 3, 3) / channels, "b": random(out, seed=1)}
    top, left, bottom, right = pads
    y = [images, out, height + top + bottom - 2, width + left + right - 2]
    return build(nodes, weights, {"x": [images, channels, height, width]}, {"y": y})


def test_windows_of_three_by_three_answer_as_native_does() -> None:
    models = [
        windows(7, 9, 16, 16, [1, 1, 1, 1]),
        windows(8, 5, 20, 24, [0, 2, 1, 0], 2),
        windows(3, 3, 64, 32, [0, 0, 0, 0], biased=False),
        windows(1, 1, 16, 40, [3, 1, 2, 4]),
        windows(41, 30, 128, 72, [1, 1, 1, 1]),  # more squares than are done at once
    ]
    assert max(gaps(models)) < CLOSE


def test_what_a_convolution_takes_in_costs_no_step() -> None:
    plan = compile_model(mobile()).plan
    assert [s.op for s in plan.steps if s.op in ("conv", "dense")] == [
        *("conv", "dense", "conv", "dense", "dense")
    ]
    kinds = [s.kind for s in plan.steps if s.op == "unary"]
    assert kinds == ["hardswish", "silu", "hardsigmoid"]
    padded = build(
        [
            helper.make_node("Pad", ["x", "p"], ["q"]),
            helper.make_node("Conv", ["q", "w"], ["y"]),
        ],
        {"p": np.array([0, 0, 1, 2, 0, 0, 3, 0]), "w": random(4, 2, 3, 3)},
        {"x": [1, 2, 8, 8]},
        {"y": [1, 4, 10, 8]},
    )
    first = compile_model(padded).plan.steps
    assert [s.op for s in first] == ["binary", "conv", "binary"]  # to NHWC and back
    assert gaps([padded])[0] < CLOSE


@pytest.mark.parametrize(
    "how",
    [Weights(), Float16(), RateDistortion(3.0)],
    ids=lambda how: type(how).__name__,
)
def test_stored_integers_stay_as_they_are(how: Any) -> None:
    original = cnn()
    samples = [noise(original, seed) for seed in range(8)]
    small = quantize(original, how, samples)
    made = compile_model(small)
    # a float16 graph rounds its activations in native ONNX Runtime, and not here
    assert gaps([small])[0] < (1e-3 if isinstance(how, Float16) else CLOSE)
    kinds = {c.kind for c in made.plan.constants}
    assert kinds & {"int8", "uint8", "float16"}
    assert len(made.weights) < 1.1 * small.ByteSize()


@pytest.mark.parametrize("kind", [TensorProto.INT4, TensorProto.UINT4, TensorProto.INT8])
@pytest.mark.parametrize("zero", [False, True])
def test_packed_integers_with_scales_and_zero_points(kind: int, zero: bool) -> None:
    draw = np.random.default_rng(3)
    low = 0 if kind == TensorProto.UINT4 else -7
    node = helper.make_node
    weights: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []
    for name, shape in (("w", (5, 3, 3, 1)), ("d", (5, 1, 3, 3)), ("g", (7, 5))):
        size = int(np.prod(shape))
        values = draw.integers(low, 8, size).tolist()
        inputs = [f"{name}q", f"{name}s"]
        weights += [
            helper.make_tensor(f"{name}q", kind, shape, values),
            numpy_helper.from_array(draw.random(shape[0], np.float32), f"{name}s"),
        ]
        if zero:
            inputs.append(f"{name}z")
            zeros = draw.integers(low, 8, shape[0]).tolist()
            weights.append(helper.make_tensor(f"{name}z", kind, shape[:1], zeros))
        nodes.append(node("DequantizeLinear", inputs, [name], axis=0))
    nodes += [
        node("Conv", ["x", "w"], ["a"]),
        node("Conv", ["a", "d"], ["b"], group=5),
        node("GlobalAveragePool", ["b"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "g"], ["y"], transB=1),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "packed",
        [value("x", TensorProto.FLOAT, [1, 3, 9, 9])],
        [value("y", TensorProto.FLOAT, [1, 7])],
        weights,
    )
    opsets = [helper.make_opsetid("", 21)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    assert gaps([model])[0] < CLOSE
    stored = [c for c in compile_model(model).plan.constants if c.scales is not None]
    assert len(stored) == 3


def test_the_same_model_gives_the_same_bytes() -> None:
    first, second = compile_model(residual()), compile_model(residual())
    assert plan_text(first.plan) == plan_text(second.plan)
    assert first.weights == second.weights
    assert Plan.model_validate_json(plan_text(first.plan)) == first.plan


def test_the_schema_is_the_published_one() -> None:
    published = Path(__file__).parents[1] / "docs/plan.schema.json"
    assert published.read_text() == schema_text()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (single("Conv", [1, 2, 5, 5, 5], random(2, 2, 3, 3, 3)), ("Conv", "3 axes")),
        (single("Resize", [1, 1, 4, 4], *TWICE, mode="cubic"), ("attribute mode", "cubic")),
        (single("Sinh", [4]), ("Sinh", "not there")),
        (single("TopK", [4], np.array([2])), ("TopK",)),
        (single("Softmax", [4], axis=7), ("Softmax", "attribute axis")),
        (single("Conv", ["n", 2, "h", 4], random(2, 2, 3, 3)), ("dynamic", "--shape")),
    ],
    ids=("conv3d", "cubic", "unknown", "topk", "axis", "dynamic"),
)  # fmt: skip
def test_what_it_cannot_do_is_named(model: onnx.ModelProto, words: tuple[str, ...]) -> None:
    with pytest.raises(LeanUnsupportedError) as error:
        compile_model(model)
    for word in words:
        assert word in str(error.value)


def crowded(one: Case) -> Case:
    """The case with more memory than the wasm file starts with: from there, every page shows."""
    plan = json.loads(one.plan)
    plan["memory"] += 1 << 23
    return replace(one, plan=json.dumps(plan))


def test_nothing_random_is_taken_for_a_constant() -> None:
    node = helper.make_node
    nodes = [node("RandomNormal", [], ["r"], shape=[4]), node("Add", ["x", "r"], ["y"])]
    with pytest.raises(LeanUnsupportedError, match="RandomNormal"):
        compile_model(build(nodes, {}, {"x": [1, 4]}, {"y": [1, 4]}))


def test_ten_thousand_runs_take_no_memory() -> None:
    models = [residual(), mobile(), attention()]
    cases = [crowded(case(m, [noise(m)], repeat=10_000)) for m in models]
    for model, one, answer in zip(models, cases, answers(cases), strict=True):
        assert answer.error == ""
        assert answer.heaps[0] == answer.heaps[1], model.graph.name
        assert gap(native(model, one.feeds[0]), answer.outputs[0]) < CLOSE


def test_in_chromium_it_answers_in_a_worker() -> None:
    models = [residual(), mobile(), attention(), load(DOODLES)]
    cases = [case(m, [noise(m, 0), noise(m, 1)]) for m in models]
    for model, one, answer in zip(models, cases, answers(cases, "chromium"), strict=True):
        assert answer.error == ""
        for feeds, got in zip(one.feeds, answer.outputs, strict=True):
            assert gap(native(model, feeds), got) < CLOSE


def spots(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every number and word in a plan."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield (*path, key)
            yield from spots(inner, (*path, key))


HOSTILE: tuple[Any, ...] = (
    *(-1, 0, 1, 2, 7, 1000, 65535, 65536, 2**24, 2**28, 2**31 - 1, 2**31, 2**32 + 4, 2**53, 1e300),
    *(0.5, -0.5, None, "x", "conv", [], {}, [1, 1, 1, 1], True),
)


def mutated(text: str, weights: bytes, seed: int) -> tuple[str, bytes]:
    """A plan with one to three things wrong, or weights of another length."""
    draw = np.random.default_rng(seed)
    plan = json.loads(text)
    if draw.random() < 0.1:
        cut = int(draw.integers(0, len(weights)))
        return text, weights[:cut] if draw.random() < 0.5 else weights + bytes(cut)
    if draw.random() < 0.05:
        return text[: int(draw.integers(0, len(text)))], weights
    for _ in range(int(draw.integers(1, 4))):
        places = list(spots(plan))
        *above, last = places[int(draw.integers(0, len(places)))]
        holder = plan
        for key in above:
            holder = holder[key]
        if draw.random() < 0.1:
            del holder[last]
        elif isinstance(holder[last], int) and draw.random() < 0.4:
            holder[last] += int(draw.integers(-8, 9))
        else:
            holder[last] = HOSTILE[int(draw.integers(0, len(HOSTILE)))]
    return json.dumps(plan), weights


def everything() -> onnx.ModelProto:
    """One network with every kind of step."""
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w", "b"], ["a"], pads=[1, 1, 1, 1]),
        node("Conv", ["a", "d"], ["b1"], group=4),
        node("HardSwish", ["b1"], ["c"]),
        node("MaxPool", ["c"], ["e"], kernel_shape=[2, 2], strides=[1, 1]),
        node("Resize", ["e", "", "", "size"], ["f"], mode="linear"),
        node("Pad", ["f", "pads"], ["g"]),
        node("ReduceMean", ["g"], ["h"], axes=[2]),
        node("Softmax", ["h"], ["i"], axis=1),
        node("Transpose", ["i"], ["j"], perm=[0, 2, 3, 1]),
        node("LayerNormalization", ["j", "gamma"], ["k"]),
        node("Transpose", ["k"], ["l"], perm=[0, 1, 3, 2]),
        node("MatMul", ["k", "l"], ["m"]),
        node("MatMul", ["m", "last"], ["y"]),
    ]
    weights = {
        "w": random(4, 3, 3, 3),
        "b": random(4),
        "d": random(4, 1, 2, 2),
        "size": np.array([1, 4, 8, 7]),
        "pads": np.array([0, 0, 1, 1, 0, 0, 0, 0]),
        "gamma": random(4),
        "last": random(8, 3),
    }
    return build(nodes, weights, {"x": [1, 3, 6, 6]}, {"y": [1, 1, 8, 3]})


def test_hostile_plans_end_in_one_error_and_never_in_a_trap() -> None:
    model = everything()
    assert gaps([model])[0] < CLOSE
    whole = case(model, [noise(model)])
    ops = {s.op for s in compile_model(model).plan.steps}
    assert ops >= {"conv", "dense", "multiply", "unary", "binary", "fill", "reduce", "softmax"}
    assert ops >= {"normalize", "gather", "pool"}
    squares = windows(6, 5, 16, 16, [1, 1, 1, 1])
    other = case(squares, [noise(squares)])
    cases = [
        Case(*mutated(one.plan, one.weights, seed), one.feeds)
        for one, seeds in ((whole, 400), (other, 100))
        for seed in range(seeds)
    ]
    found = answers([*cases, whole])
    assert found[-1].error == ""
    refused = [a.error for a in found if a.error]
    assert len(refused) > 300
    for error in refused:
        assert error.startswith(("SpratError: ", "SyntaxError: ")), error
        assert "out of bounds" not in error, error
        assert "unreachable" not in error, error


def sprat(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sprat", "compile", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_writes_what_it_has_checked(tmp_path: Path) -> None:
    data = DOODLES.parent / "data"
    done = sprat(DOODLES, "-o", tmp_path / "out", "--data", data, "--samples", 3, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["samples"], found["real"]) == (3, True)
    assert found["largest"] < 1e-4
    assert found["runtime_brotli"] + found["plan_brotli"] < 90_000
    Plan.model_validate_json((tmp_path / "out/plan.json").read_text())
    assert (tmp_path / "out/weights.bin").stat().st_size == found["weights_bytes"]


def test_a_weight_among_the_inputs_is_no_batch(tmp_path: Path) -> None:
    """Files of IR 3 list the weights as inputs, sometimes before the samples."""
    model = mlp()
    w1 = helper.make_tensor_value_info("w1", TensorProto.FLOAT, [32, 64])
    model.graph.input.insert(0, w1)
    save(model, tmp_path / "model.onnx")
    np.savez(tmp_path / "data.npz", x=random(20, 32))
    found = compile(tmp_path / "model.onnx", tmp_path / "out", data=tmp_path / "data.npz")
    plan = Plan.model_validate_json(found.plan.read_text())
    assert [(t.name, t.shape) for t in plan.inputs] == [("x", (1, 32))]


def test_random_integers_are_words_of_a_small_vocabulary(tmp_path: Path) -> None:
    model = save(table(2), tmp_path / "model.onnx")
    assert compile(model, tmp_path / "out").largest < CLOSE


def test_the_place_is_where_it_was_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = save(mlp(), tmp_path / "model.onnx")
    monkeypatch.setattr("sprat.browser.lean.find_node", lambda: None)
    assert compile(model, tmp_path / "out", place="node").place == "chromium"


OWN_PAGE = """
import { readFileSync } from "node:fs";
import { LeanSession } from "./lean.mjs";
const [xnnpack, helper, weights] = ["xnnpack.wasm", "helper.wasm", "weights.bin"].map(
  (path) => new Uint8Array(readFileSync(path)).buffer,
);
const plan = JSON.parse(readFileSync("plan.json", "utf8"));
const session = await LeanSession.open({ xnnpack, helper, plan, weights });
const data = new Float32Array(4).map((_, i) => i - 1.5);
const { y } = session.run({ x: { type: "float32", dims: [1, 4], data } });
console.log(JSON.stringify([...y.data]));
"""


def test_the_runtime_comes_along_where_it_is_wanted(tmp_path: Path) -> None:
    model = save(single("Relu", [1, 4]), tmp_path / "model.onnx")
    compile(model, tmp_path / "out", runtime=True)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    wanted = {"lean.mjs", "xnnpack.wasm", "helper.wasm", "LICENSES.txt", "plan.json", "weights.bin"}
    assert names == {*wanted, ".sprat.json"}
    (tmp_path / "out/page.mjs").write_text(OWN_PAGE)
    command = [str(find_node()), "page.mjs"]
    done = subprocess.run(command, cwd=tmp_path / "out", capture_output=True, check=True)
    assert json.loads(done.stdout) == [0, 0, 0.5, 1.5]


def test_the_command_writes_nothing_that_it_cannot_do(tmp_path: Path) -> None:
    save(single("Sinh", [1, 4]), tmp_path / "model.onnx")
    done = sprat(tmp_path / "model.onnx", "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "node 'the-node', operator Sinh" in done.stderr
    assert not (tmp_path / "out").exists()
    wanted = ("x=1x2", "does not fit"), ("x=1xa", "must be numbers"), ("z=4", "no input 'z'")
    save(single("Relu", [1, 4]), tmp_path / "relu.onnx")
    for shape, words in wanted:
        done = sprat(tmp_path / "relu.onnx", "-o", tmp_path / "out", "--shape", shape)
        assert done.returncode == 2
        assert words in done.stderr


def test_a_plan_that_the_runtime_refuses_is_not_written(tmp_path: Path) -> None:
    """The plan is made in Python and read again in the page, which has bounds of its own."""
    strides = single("Conv", [1, 3, 8, 8], random(4, 3, 3, 3), strides=[100_000, 100_000])
    path = save(strides, tmp_path / "model.onnx")
    with pytest.raises(LeanMismatchError, match="a window is too large") as caught:
        compile(path, tmp_path / "out", place="node")
    assert caught.value.where == str(path)
    assert "refused its own plan" in caught.value.what
    assert "Use ONNX Runtime Web for this model, and report this" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_samples_of_unlike_shapes_are_told_and_one_shape_can_be_stated(tmp_path: Path) -> None:
    """A plan is of one shape: neither the model nor the runtime is at fault."""
    model = single("Relu", [1, "t"])
    path = save(model, tmp_path / "model.onnx")
    feeds = tuple({"x": random(1, 4 + i % 2)} for i in range(4))
    with pytest.raises(LeanUnsupportedError, match="samples have unlike shapes") as caught:
        checked(path, model, Trial(feeds, place="node"))
    assert "--shape x=1x4" in caught.value.hint
    assert "report" not in str(caught.value)
    found = checked(path, model, Trial(feeds, {"x": (1, 5)}, place="node"))
    assert found.samples == 2
    with pytest.raises(LeanUnsupportedError, match=r"no sample .* has that shape"):
        checked(path, model, Trial(feeds, {"x": (1, 9)}, place="node"))


def test_wrong_inputs_are_told() -> None:
    model = cnn()
    made = case(model, [noise(model)])
    wrong = [
        {"x": random(1, 3, 16, 15)},
        {"z": random(1)},
        {"x": np.zeros((1, 3, 16, 16), np.int8)},
    ]
    for answer in answers([Case(made.plan, made.weights, (fed,)) for fed in wrong]):
        assert "input x is" in answer.error
        assert "it must be float32 [1,3,16,16]" in answer.error
