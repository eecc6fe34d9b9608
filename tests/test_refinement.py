"""Refinement by gradients: torch answers as ONNX Runtime, and a coarse point gets better."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from sprat.errors import OptionError, UnsupportedModelError
from sprat.evaluate.reading import Reading, divergence
from sprat.graph.simplify import simplify
from sprat.model.nodes import name_nodes
from sprat.model.session import open_session, run
from sprat.model.wire import brotli_bytes
from sprat.quantization.rate_distortion import Point, Prepared, pack, prepare
from sprat.quantization.rate_distortion.biases import shorten
from sprat.quantization.rate_distortion.engine import expanded
from sprat.record.history import read
from sprat.refinement.config import Refine
from sprat.refinement.distance import distance
from sprat.refinement.graph import Graph
from sprat.refinement.refine import refine
from sprat.refinement.weights import Weights
from sprat.workflow.aim import Target
from sprat.workflow.step import quantize_file
from tests.networks import build, cnn, feeds, mlp

EXAMPLE = Path(__file__).parents[1] / "examples/doodles"
READING = Reading("y", "classes")
NODE = helper.make_node


def batches(model: onnx.ModelProto, count: int) -> list[dict[str, Any]]:
    return [feeds(model, 8, seed=i) for i in range(count)]


@pytest.fixture(scope="module")
def clean() -> onnx.ModelProto:
    return name_nodes(simplify(cnn(classes=4)).model)


@pytest.fixture(scope="module")
def samples(clean: onnx.ModelProto) -> list[dict[str, Any]]:
    return batches(clean, 24)


@pytest.fixture(scope="module")
def ready(clean: onnx.ModelProto, samples: list[dict[str, Any]]) -> Prepared:
    return prepare(clean, samples)


@pytest.fixture(scope="module")
def coarse(ready: Prepared) -> Point:
    weights = sum(part.weights.size for part in ready.parts)
    return ready.quantize(0.3 / weights)


def content(model: onnx.ModelProto, point: Point) -> bytes:
    return pack(model, point, "int8").SerializeToString(deterministic=True)


def test_a_coarse_point_gets_better_at_the_same_bytes(
    clean: onnx.ModelProto, samples: list[dict[str, Any]], coarse: Point
) -> None:
    found = refine(clean, coarse, samples, READING, Refine(steps=40))
    assert 0 < found.best <= found.steps == 40
    assert found.after < 0.9 * found.before
    before, after = (brotli_bytes(content(clean, p)) for p in (coarse, found.point))
    assert (before, after) == (found.bytes_before, found.bytes_after)
    assert after <= 1.02 * before
    exact = refine(clean, coarse, samples, READING, Refine(steps=10), limit=before)
    assert exact.bytes_after <= before
    others = batches(clean, 40)[24:]
    assert spread(clean, found.point, others) < spread(clean, coarse, others)


def spread(model: onnx.ModelProto, point: Point, others: list[dict[str, Any]]) -> float:
    """Return the divergence of the packed file on samples that refinement never saw."""
    exact, rough = open_session(model), open_session(pack(model, point, "int8"))
    pairs = [(run(exact, f)["y"], run(rough, f)["y"]) for f in others]
    return float(np.mean([divergence(a, b, READING).mean() for a, b in pairs]))


def test_the_same_steps_give_the_same_bytes(
    clean: onnx.ModelProto, samples: list[dict[str, Any]], coarse: Point
) -> None:
    torch.manual_seed(5)
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    config = Refine(steps=12)
    made = [refine(clean, coarse, samples, READING, config).point for _ in range(2)]
    assert content(clean, made[0]) == content(clean, made[1]) != content(clean, coarse)
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.get_num_threads() == threads


def test_what_is_stored_keeps_its_form(
    clean: onnx.ModelProto, samples: list[dict[str, Any]], coarse: Point
) -> None:
    found = refine(clean, coarse, samples, READING, Refine(steps=12)).point
    for name, integers in found.integers.items():
        assert np.array_equal(integers, coarse.integers[name])
        assert np.array_equal(found.steps[name], shorten(found.steps[name], 8))
        assert found.steps[name].shape == coarse.steps[name].shape
    for bias in found.biases.values():
        assert np.array_equal(bias, shorten(bias, 8))


def test_it_ends_when_told_and_within_its_minutes(
    clean: onnx.ModelProto, samples: list[dict[str, Any]], coarse: Point
) -> None:
    heard: list[str] = []

    def progress(stage: str, done: float, total: float) -> None:
        heard.append(stage)

    found = refine(
        clean, coarse, samples, READING, Refine(steps=500), stop=lambda: True, progress=progress
    )
    assert found.steps == 1
    assert found.after <= found.before
    assert "refining" in heard
    found = refine(clean, coarse, samples, READING, Refine(minutes=0.01), progress=progress)
    assert "timing a step" in heard
    assert found.steps >= 1


def test_a_point_that_cannot_be_bettered_is_given_back(
    clean: onnx.ModelProto, samples: list[dict[str, Any]], ready: Prepared
) -> None:
    fine, wild = ready.quantize(1e-12), Refine(steps=3, scale_rate=1, bias_rate=1)
    found = refine(clean, fine, samples, READING, wild)
    assert found.best == 0
    assert found.point is fine
    assert found.after == found.before


def test_torch_sees_the_weights_that_are_stored(
    clean: onnx.ModelProto, samples: list[dict[str, Any]], coarse: Point
) -> None:
    weights = Weights(coarse)
    with torch.no_grad():
        got = Graph(clean)(samples[0], weights())["y"].numpy()
    packed = pack(clean, weights.point(), "int8")
    assert np.abs(run(open_session(packed), samples[0])["y"] - got).max() < 1e-4
    stored = expanded(weights.point())
    for name, values in weights().items():
        assert np.allclose(values.detach().numpy(), stored[name], rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "reading",
    [
        Reading("y", "logit", threshold=0.3),
        Reading("y", "logit", probability=True),
        Reading("y", "classes"),
        Reading("y", "classes", probability=True),
        Reading("y", "sequence"),
        Reading("y", "vector"),
    ],
)
def test_the_distance_is_the_divergence(reading: Reading) -> None:
    random = np.random.default_rng(0)
    shape = {"logit": (6, 1), "classes": (6, 5), "sequence": (6, 3, 5), "vector": (6, 5)}
    a, b = random.standard_normal((2, *shape[reading.kind])).astype(np.float32)
    if reading.probability:
        a, b = (1 / (1 + np.exp(-v)) for v in (a, b))
    if reading.probability and reading.kind == "classes":
        a, b = (v / v.sum(axis=1, keepdims=True) for v in (a, b))
    found = distance(a, torch.from_numpy(b), reading).numpy()
    assert np.allclose(found, divergence(a, b, reading), rtol=1e-4, atol=1e-6)


def agree(model: onnx.ModelProto, given: dict[str, Any]) -> None:
    with torch.no_grad():
        found = Graph(model)(given, {})
    for name, wanted in run(open_session(model), given).items():
        assert found[name].shape == wanted.shape
        assert np.abs(found[name].numpy() - wanted).max() < 1e-4


@pytest.mark.parametrize("model", [cnn(), cnn(classes=3, group=4), cnn(opset=12), mlp()])
def test_torch_agrees_on_small_networks(model: onnx.ModelProto) -> None:
    agree(model, feeds(model, 4, seed=1))


def test_torch_agrees_on_the_example() -> None:
    model = onnx.load(EXAMPLE / "doodles.onnx")
    agree(model, feeds(model, 4, seed=1))


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


def floats(*values: float) -> Any:
    return np.array(values, np.float32)


_EVEN = {"kernel_shape": [2, 2], "strides": [2, 2]}
_ODD = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 0, 1, 1]}
#: Operator, its further inputs, its attributes, opset; on an input of [2, 4, 6, 7].
CASES: list[tuple[str, list[Any], dict[str, Any], int]] = [
    *((name, [], {}, 17) for name in ("Relu", "HardSwish", "Sigmoid", "Tanh", "Erf", "Abs")),
    ("HardSigmoid", [], {"alpha": 0.1666, "beta": 0.5}, 17),
    ("LeakyRelu", [], {"alpha": 0.1}, 17),
    ("PRelu", [np.full((4, 1, 1), 0.25, np.float32)], {}, 17),
    ("Gelu", [], {"approximate": "tanh"}, 20),
    ("Clip", [np.float32(-0.5), np.float32(0.7)], {}, 13),
    ("Add", [np.ones((4, 1, 1), np.float32)], {}, 17),
    ("Mul", [np.full((7,), 2, np.float32)], {}, 17),
    ("Div", [np.float32(3)], {}, 17),
    ("Pow", [np.float32(2)], {}, 17),
    ("Softmax", [], {"axis": 1}, 17),
    ("Softmax", [], {"axis": 2}, 12),
    ("LogSoftmax", [], {}, 21),
    ("ReduceMean", [], {"axes": [2, 3], "keepdims": 0}, 17),
    ("ReduceMean", [ints(-1)], {}, 18),
    ("ReduceSum", [ints(1)], {"keepdims": 0}, 13),
    ("ReduceMax", [], {"axes": [1]}, 13),
    ("ReduceL2", [], {"axes": [1, 3]}, 17),
    ("ReduceL2", [ints(-1)], {"keepdims": 0}, 18),
    ("GlobalAveragePool", [], {}, 17),
    ("GlobalMaxPool", [], {}, 17),
    ("MaxPool", [], _EVEN, 17),
    ("MaxPool", [], {**_ODD, "ceil_mode": 1}, 17),
    ("MaxPool", [], {**_EVEN, "auto_pad": "SAME_UPPER"}, 17),
    ("AveragePool", [], _EVEN, 17),
    ("AveragePool", [], _ODD, 19),
    ("AveragePool", [], {**_ODD, "count_include_pad": 1}, 17),
    ("AveragePool", [], {**_EVEN, "ceil_mode": 1}, 19),
    ("Reshape", [ints(0, -1, 7)], {}, 21),
    ("Flatten", [], {"axis": 2}, 13),
    ("Transpose", [], {"perm": [0, 2, 3, 1]}, 21),
    ("Unsqueeze", [ints(0, -1)], {}, 13),
    ("Slice", [ints(5, 1), ints(-100, 3), ints(-1, 1), ints(-2, 1)], {}, 13),
    ("Gather", [ints(-1, 0)], {"axis": 3}, 13),
    ("Pad", [ints(0, 0, 1, 2, 0, 0, 0, 1), np.float32(0.5)], {}, 18),
    ("Expand", [ints(3, 1, 1, 1, 1)], {}, 13),
    ("Resize", [floats(), floats(1, 1, 2, 2)], {"mode": "nearest"}, 19),
    (
        "Resize",
        [floats(), floats(1, 1, 2, 2)],
        {
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        },
        13,
    ),
    ("Resize", [floats(), floats(1, 1, 2, 2)], {"mode": "linear"}, 18),
    ("LayerNormalization", [floats(*range(7)), floats(*range(7))], {"axis": -1}, 17),
    ("InstanceNormalization", [floats(1, 2, 3, 4), floats(4, 3, 2, 1)], {}, 17),
    ("MatMul", [np.ones((7, 3), np.float32)], {}, 17),
    (
        "BatchNormalization",
        [floats(1, 2, 3, 4), floats(4, 3, 2, 1), floats(0, 1, 0, 1), floats(1, 2, 3, 4)],
        {},
        15,
    ),
    ("Conv", [np.ones((6, 2, 3, 3), np.float32)], {"group": 2, "pads": [1, 0, 2, 1]}, 17),
    (
        "Conv",
        [np.ones((6, 4, 3, 2), np.float32), floats(*range(6))],
        {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
        17,
    ),
]


@pytest.mark.parametrize(("operator", "more", "flags", "opset"), CASES)
def test_torch_agrees_on_every_operator(
    operator: str, more: list[Any], flags: dict[str, Any], opset: int
) -> None:
    names = [f"c{i}" for i in range(len(more))]
    graph = helper.make_graph(
        [NODE(operator, ["x", *names], ["y"], name="it", **flags)],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4, 6, 7])],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in zip(names, more, strict=True)],
    )
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    agree(model, feeds(model, 2, seed=2))


def test_torch_agrees_on_shapes_that_are_computed() -> None:
    nodes = [
        NODE("Shape", ["x"], ["s"], name="shape"),
        NODE("Gather", ["s", "zero"], ["n"], name="first"),
        NODE("Concat", ["n", "rest"], ["to"], name="both", axis=0),
        NODE("Reshape", ["x", "to"], ["flat"], name="flat"),
        NODE("Split", ["flat"], ["a", "b"], name="halves", axis=1),
        NODE("Squeeze", ["tall", "zero"], ["low"], name="low"),
        NODE("Mul", ["b", "low"], ["scaled"], name="scaled"),
        NODE("Concat", ["scaled", "a"], ["y"], name="swapped", axis=1),
    ]
    weights = {"zero": ints(0), "rest": ints(-1), "tall": np.full((1, 1), 2, np.float32)}
    model = build(nodes, weights, {"x": [2, 3, 4]}, {"y": [2, 12]}, 13)
    agree(model, feeds(model, 2, seed=3))


def test_an_operator_that_it_cannot_do_is_named() -> None:
    nodes = [NODE("Relu", ["x"], ["r"], name="fine"), NODE("Det", ["r"], ["y"], name="odd one")]
    model = build(nodes, {}, {"x": [2, 3, 3]}, {"y": [2]})
    with pytest.raises(UnsupportedModelError, match=r"odd one: .*cannot execute Det"):
        Graph(model)
    cubic = NODE("Resize", ["x", "", "s"], ["y"], name="cubes", mode="cubic")
    model = build([cubic], {"s": floats(1, 1, 2, 2)}, {"x": [1, 1, 3, 3]}, {"y": [1, 1, 6, 6]})
    with pytest.raises(UnsupportedModelError, match=r"cubes: .*Resize with mode=cubic"):
        Graph(model)(feeds(model, 1), {})


def test_too_few_samples_and_wrong_values_are_refused(
    clean: onnx.ModelProto, samples: list[dict[str, Any]], coarse: Point
) -> None:
    with pytest.raises(OptionError, match="at least 4 calibration batches, got 3"):
        refine(clean, coarse, samples[:3], READING, Refine(steps=1))
    for wrong in (Refine(minutes=0), Refine(steps=0), Refine(scale_rate=-1), Refine(batch=0)):
        with pytest.raises(OptionError, match="--refine"):
            wrong.check()


def test_a_model_that_torch_answers_otherwise_is_refused(
    clean: onnx.ModelProto,
    samples: list[dict[str, Any]],
    coarse: Point,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sprat.refinement.refine._TOLERANCE", -1.0)
    with pytest.raises(UnsupportedModelError, match=r"torch answers otherwise .*--refine out"):
        refine(clean, coarse, samples, READING, Refine(steps=1))


def sprat(*words: object, without: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({without!r})); "
        "import importlib.util as u; found = u.find_spec; "
        f"u.find_spec = lambda n, *a: None if n in {without!r} else found(n, *a); "
        "from sprat.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", script, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


COMMON = ("--data", EXAMPLE / "data", "--limit", 40, "--bits-per-weight", 0.4)


def test_the_command_refines(tmp_path: Path) -> None:
    out = tmp_path / "small.onnx"
    words = ("quantize", EXAMPLE / "doodles.onnx", "--method", "rate-distortion", "-o", out)
    done = sprat(*words, *COMMON, "--refine-steps", 10)
    assert done.returncode == 0, done.stderr
    assert "held-out calibration samples" in done.stdout + done.stderr
    assert "10 steps" in read(tmp_path)[0].notes
    open_session(out)


def test_a_refined_point_must_hold_what_was_aimed_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def better(*args: Any, **options: Any) -> Any:
        return replace(refine(*args, **options), best=1)  # whether or not it is, on this machine

    monkeypatch.setattr("sprat.refinement.refine.refine", better)
    monkeypatch.setattr("sprat.workflow.aim.holds", lambda *_: False)
    out = tmp_path / "small.onnx"
    found = quantize_file(
        EXAMPLE / "doodles.onnx",
        out,
        "rate-distortion",
        data=EXAMPLE / "data",
        target=Target(max_drop=30.0),
        refine=Refine(steps=20),
        limit=40,
    )
    assert any("does not hold 30 points on val, so it is not taken" in n for n in found.notes)
    open_session(out)


def test_without_torch_it_says_what_to_install(tmp_path: Path) -> None:
    out = tmp_path / "small.onnx"
    words = ("quantize", EXAMPLE / "doodles.onnx", "-o", out, "--refine", 1)
    done = sprat(*words, *COMMON, "--method", "rate-distortion", without=("torch",))
    assert done.returncode == 2
    assert "--refine needs torch, which is not installed" in done.stderr
    assert "pip install '.[distill]'" in done.stderr
    assert not out.exists()
    done = sprat(*words, "--method", "weights")
    assert done.returncode == 2
    assert "--refine" in done.stderr
    assert "rate-distortion" in done.stderr
