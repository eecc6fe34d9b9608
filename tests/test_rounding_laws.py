"""Laws of rate-distortion rounding, on seeded networks of the kinds that compact models use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import brotli
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from sprat.errors import ConstantAnswerError, OptionError
from sprat.evaluate.reading import MeanDivergence, Reading
from sprat.graph.simplify import simplify
from sprat.model.nodes import name_nodes
from sprat.model.session import Feeds, Outputs, open_session, predict
from sprat.progress import Progress
from sprat.quantization.rate_distortion import TYPICAL, Point, Prepared, at_bits, prepare
from sprat.quantization.rate_distortion.checks import HARMLESS, Checks
from sprat.quantization.rate_distortion.collapse import is_constant
from sprat.quantization.rate_distortion.engine import expanded, point_of
from sprat.quantization.rate_distortion.layers import find_layers, weight_of
from sprat.quantization.rate_distortion.look import Look, relative_error, replaced
from sprat.quantization.rate_distortion.losses import MOST_LOST, lost, without
from sprat.quantization.rate_distortion.moments import Moments, awake, input_moments
from sprat.quantization.rate_distortion.part import COARSENESS, Part, corrected
from sprat.quantization.rate_distortion.plain import PLAIN, to_nearest
from sprat.quantization.rate_distortion.rounding import LIMIT, entropy_bits
from sprat.quantization.rate_distortion.steps import BY_GROUP, steps_of
from sprat.search import rate
from sprat.workflow.aim import Target
from sprat.workflow.compare import Comparison
from sprat.workflow.step import quantize_file
from tests.networks import build

#: What a scale costs: it is stored with 16 bits that are not zero.
SCALE_BITS = 16
SIZE, CLASSES = 16, 10

Activation = Literal["relu", "relu6", "hardswish"]


@dataclass
class Net:
    """Builds a network node by node.

    Attributes:
        random: Draws the weights.
        activation: Behind each convolution that asks for one.
    """

    random: np.random.Generator
    activation: Activation = "relu"
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, Any] = field(default_factory=dict)

    def conv(
        self, x: str, inputs: int, outputs: int, kernel: int, *, group: int = 1, stride: int = 1
    ) -> str:
        """Add a convolution; return its output's name."""
        y = f"c{len(self.nodes)}"
        fan = inputs // group * kernel**2
        shape = (outputs, inputs // group, kernel, kernel)
        drawn = self.random.standard_normal(shape) * np.sqrt(2 / fan)
        self.weights[f"{y}.w"] = drawn.astype(np.float32)
        self.weights[f"{y}.b"] = (0.1 * self.random.standard_normal(outputs)).astype(np.float32)
        pads = [kernel // 2] * 4
        self.nodes.append(
            helper.make_node(
                "Conv",
                [x, f"{y}.w", f"{y}.b"],
                [y],
                name=y,
                group=group,
                pads=pads,
                strides=[stride] * 2,
            )
        )
        return y

    def act(self, x: str) -> str:
        """Add the activation; return its output's name."""
        y = f"{x}.a"
        if self.activation == "relu6":
            self.weights |= {"zero": np.float32(0), "six": np.float32(6)}
            self.nodes.append(helper.make_node("Clip", [x, "zero", "six"], [y]))
        else:
            operator = "Relu" if self.activation == "relu" else "HardSwish"
            self.nodes.append(helper.make_node(operator, [x], [y]))
        return y

    def add(self, a: str, b: str) -> str:
        """Add two values; return the sum's name."""
        y = f"{a}+{b}"
        self.nodes.append(helper.make_node("Add", [a, b], [y]))
        return y

    def separable(self, x: str, inputs: int, outputs: int, *, stride: int = 1) -> str:
        """Add expand, depthwise, project."""
        wide = 2 * inputs
        x = self.act(self.conv(x, inputs, wide, 1))
        x = self.act(self.conv(x, wide, wide, 3, group=wide, stride=stride))
        return self.conv(x, wide, outputs, 1)

    def kill(self, x: str, share: float = 0.15) -> str:
        """Make some channels of a convolution never active behind its activation."""
        bias = self.weights[f"{x}.b"]
        bias[: max(1, int(share * len(bias)))] = -50
        return x

    def finish(self, x: str, channels: int) -> onnx.ModelProto:
        """Add pool and classifier; return the model ``x [N, 3, 16, 16]`` to ``y [N, 10]``."""
        node = helper.make_node
        self.nodes += [
            node("GlobalAveragePool", [x], ["pool"]),
            node("Flatten", ["pool"], ["flat"]),
            node("Gemm", ["flat", "fc.w", "fc.b"], ["y"], name="fc", transB=1),
        ]
        drawn = 3 * self.random.standard_normal((CLASSES, channels)) / np.sqrt(channels)
        self.weights["fc.w"] = drawn.astype(np.float32)
        self.weights["fc.b"] = np.zeros(CLASSES, np.float32)
        made = build(self.nodes, self.weights, {"x": ["n", 3, SIZE, SIZE]}, {"y": ["n", CLASSES]})
        return name_nodes(simplify(made).model)


def plain(net: Net) -> onnx.ModelProto:
    x = net.act(net.conv("x", 3, 16, 3))
    x = net.act(net.conv(x, 16, 32, 3, stride=2))
    x = net.act(net.conv(x, 32, 32, 3))
    return net.finish(x, 32)


def residual(net: Net) -> onnx.ModelProto:
    x = net.act(net.conv("x", 3, 24, 3, stride=2))
    for _ in range(2):
        inner = net.conv(net.act(net.conv(x, 24, 24, 3)), 24, 24, 3)
        x = net.act(net.add(x, inner))
    return net.finish(x, 24)


def pointwise(net: Net) -> onnx.ModelProto:
    x = net.act(net.conv("x", 3, 48, 1))
    x = net.act(net.conv(x, 48, 48, 1, stride=2))
    x = net.act(net.conv(x, 48, 48, 1))
    return net.finish(x, 48)


def depthwise(net: Net) -> onnx.ModelProto:
    x = net.act(net.conv("x", 3, 24, 3))
    x = net.separable(x, 24, 32, stride=2)
    y = net.separable(x, 32, 32)
    return net.finish(net.add(x, y), 32)


def dead_channels(net: Net) -> onnx.ModelProto:
    made = depthwise(net)
    names = [n.name for n in made.graph.node if n.op_type == "Conv"]
    biases = {n.input[2] for n in made.graph.node if n.name in (names[0], names[1], names[4])}
    return _changed(made, biases, _killed)


def badly_scaled(net: Net) -> onnx.ModelProto:
    """What comes before each depthwise layer lies decades apart from channel to channel."""
    made = depthwise(net)
    before = [n for n in made.graph.node if n.op_type == "Conv"]
    scaled = {name for i in (1, 4) for name in before[i].input[1:]}
    return _changed(made, scaled, _spread)


def _killed(values: NDArray[np.float32]) -> NDArray[np.float32]:
    out = values.copy()
    out[: len(out) // 6] = -50
    return out


def _spread(values: NDArray[np.float32]) -> NDArray[np.float32]:
    factors = np.logspace(-2.5, 0, len(values), dtype=np.float32)
    return (values.T * factors).T


def _changed(model: onnx.ModelProto, names: set[str], change: Any) -> onnx.ModelProto:
    return replaced(model, {name: change(weight_of(model, name)) for name in names})


KINDS = {
    "plain": plain,
    "residual": residual,
    "pointwise": pointwise,
    "depthwise": depthwise,
    "dead channels": dead_channels,
    "badly scaled": badly_scaled,
}
DIVERGENCE = MeanDivergence(Reading("y", "classes"))


def drawn(seed: int, count: int, each: int = 4) -> list[Feeds]:
    """Smooth pictures with noise: neighbouring pixels hang together."""
    random = np.random.default_rng(seed)
    batches: list[Feeds] = []
    for _ in range(count):
        coarse = random.standard_normal((each, 3, SIZE // 4, SIZE // 4))
        smooth = np.repeat(np.repeat(coarse, 4, axis=2), 4, axis=3)
        x = smooth + 0.3 * random.standard_normal((each, 3, SIZE, SIZE))
        batches.append({"x": x.astype(np.float32)})
    return batches


def looking(model: onnx.ModelProto, samples: Sequence[Feeds]) -> Look:
    return Look(model, samples, list(predict(open_session(model), samples)), DIVERGENCE)


def all_bits(point: Point) -> float:
    """Entropy of the integers, and what the scales cost."""
    return point.bits + SCALE_BITS * sum(steps.size for steps in point.steps.values())


def nearest_weights(
    model: onnx.ModelProto, bits: float, *, by_channel: bool
) -> dict[str, NDArray[np.float32]]:
    """Round every layer to nearest within so many bits; steps are a share of the weights' rms."""
    layers = {layer.name: layer for layer in find_layers(model)}
    rows = {
        name: layer.matrix(weight_of(model, name)).reshape(-1, layer.columns).astype(np.float64)
        for name, layer in layers.items()
    }

    def rounded(share: float) -> tuple[float, dict[str, NDArray[np.float32]]]:
        total, found = 0.0, {}
        for name, w in rows.items():
            axis = 1 if by_channel else None
            rms = np.sqrt((w**2).mean(axis=axis, keepdims=True))
            steps = np.maximum(share * rms, np.abs(w).max(axis=axis, keepdims=True) / LIMIT)
            integers = np.rint(w / steps).clip(-LIMIT, LIMIT).astype(np.int8)
            total += entropy_bits(integers) + SCALE_BITS * steps.size
            found[name] = layers[name].stored((integers * steps).astype(np.float32))
        return total, found

    low, high = 1e-3, 1e2
    for _ in range(30):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if rounded(middle)[0] > bits else (low, middle)
    return rounded(high)[1]


def network(kind: str, activation: Activation, seed: int) -> onnx.ModelProto:
    return KINDS[kind](Net(np.random.default_rng(seed), activation))


@pytest.fixture(scope="module")
def ready(request: pytest.FixtureRequest) -> Prepared:
    kind, activation, seed, (count, each) = request.param
    return prepare(network(kind, activation, seed), drawn(seed, count, each), DIVERGENCE)


#: Batches and their samples: barely enough to calibrate, and plenty.
FEW, MANY = (4, 2), (16, 8)
WAYS: list[tuple[Activation, tuple[int, int]]] = [
    ("relu6", MANY),
    ("hardswish", FEW),
    ("hardswish", MANY),
    ("relu6", FEW),
]
CASES = [
    pytest.param((kind, activation, seed, samples), id=f"{kind}-{activation}-{samples[0]}")
    for kind in KINDS
    for seed, (activation, samples) in enumerate(
        WAYS if kind in ("dead channels", "badly scaled") else WAYS[:2]
    )
]


@pytest.mark.parametrize("ready", CASES, indirect=True)
def test_a_point_is_no_worse_than_rounding_to_nearest_in_as_many_bits(ready: Prepared) -> None:
    model = ready.model
    fresh = looking(model, drawn(1000, 16, 8))
    point = at_bits(ready, 3.0)
    ours = fresh.at(expanded(point))
    for by_channel in (False, True):
        plain = nearest_weights(model, all_bits(point), by_channel=by_channel)
        assert ours <= fresh.at(plain), by_channel
    assert ready.checks is not None
    held = ready.checks.look
    for kind in PLAIN:
        nearest = point_of(ready.parts, to_nearest(ready.parts, all_bits(point), kind), 1.0)
        assert held.at(expanded(point)) <= held.at(expanded(nearest)) * (1 + 1e-6), kind


@pytest.mark.parametrize("ready", CASES, indirect=True)
def test_no_layer_loses_half_of_its_output_unless_the_model_does_without(ready: Prepared) -> None:
    assert ready.checks is not None
    look = ready.checks.look
    usual = TYPICAL / sum(part.weights.size for part in ready.parts)
    for share in (0.3, 3.0, 30.0):
        point = replace(ready, again=None).quantize(usual * share)
        allowed = HARMLESS * look.at(expanded(point))
        for part in ready.parts:
            name = part.layer.name
            rounded = part.layer.matrix(point.integers[name]), point.steps[name]
            if lost(part, rounded) > MOST_LOST:
                assert without(look, part) <= allowed, (share, name)


class WithoutNearest(Checks):
    """All laws but the first, so that fitted layers stay whatever they cost."""

    def better_nearest(self, *_: Any) -> None:
        """Say that nothing is better."""


def test_a_layer_that_was_fitted_anew_keeps_half_of_its_output_as_well() -> None:
    """The fitted weights may be so much smaller that the usual steps leave nothing of them."""
    ready = prepare(network("plain", "relu6", 0), drawn(0, 8, 4), DIVERGENCE)
    usual = TYPICAL / sum(part.weights.size for part in ready.parts)
    again, fitted = ready.again, list[Part]()
    assert again is not None

    def shrunk(
        parts: Sequence[Part], weights: Mapping[str, NDArray[np.float32]], progress: Progress
    ) -> list[Part]:
        fitted[:] = [smaller(part) for part in again(parts, weights, progress)]
        return fitted

    def smaller(part: Part) -> Part:
        assert part.bias is not None
        # The mean output stays, so that the layer's removal is what costs most.
        mean = np.einsum("gok,gk->go", 0.98 * part.weights, part.mean).reshape(part.bias.shape)
        bias = (part.bias + mean).astype(np.float32)
        return replace(part, weights=0.02 * part.weights, bias=bias)

    assert ready.checks is not None
    checks = WithoutNearest(ready.checks.look)
    point = replace(ready, again=shrunk, checks=checks).quantize(30 * usual)
    (last,) = fitted
    name = last.layer.name
    (measured,) = [part for part in ready.parts if part.layer.name == name]
    rounded = last.layer.matrix(point.integers[name]), point.steps[name]
    assert lost(replace(last, mean=measured.mean), rounded) <= MOST_LOST
    assert point.bits == pytest.approx(sum(entropy_bits(v) for v in point.integers.values()))
    for bias, values in corrected(last, *rounded).items():
        assert np.array_equal(point.biases[bias], values)


@pytest.mark.parametrize("kind", ["dead channels", "residual"])
def test_a_point_that_answers_nothing_is_an_error_that_names_layers(kind: str) -> None:
    model = network(kind, "relu6", 0)
    ready = prepare(model, drawn(0, 16, 8), DIVERGENCE)
    point = replace(ready, again=None, checks=None).quantize(1e3)
    assert not any(values.any() for values in point.integers.values())
    with pytest.raises(ConstantAnswerError) as caught:
        ready.refuse_constant(point)
    assert caught.value.exit_code == 1
    named = [part.layer.name for part in ready.parts if part.layer.name in caught.value.what]
    assert len(named) == 4
    assert "(100%)" in caught.value.what
    ready.refuse_constant(ready.quantize(1e-7))


def answering(*values: NDArray[Any]) -> list[Outputs]:
    return [{"y": batch} for batch in values]


def test_what_a_constant_answer_is() -> None:
    random = np.random.default_rng(0)
    values = random.standard_normal((3, 8, 4))
    reference = answering(*values)
    near = answering(*(0.9 * values))
    noise = answering(*random.standard_normal((3, 8, 4)))
    one = answering(*np.ones((3, 8, 4)))
    assert not is_constant(relative_error, reference, near)
    mean = answering(*np.broadcast_to(values.mean(axis=(0, 1)), values.shape))
    for dead in (noise, one, mean):
        assert is_constant(relative_error, reference, dead)
    # A model that answers the same to all samples tells nothing about another one.
    assert not is_constant(relative_error, one, noise)


def test_outputs_without_a_constant_do_not_keep_the_others_from_one() -> None:
    random = np.random.default_rng(0)
    scores = random.standard_normal((3, 8, 4))
    sides: list[list[Any]] = [
        list(random.integers(0, 5, (3, 8, 2))),  # their commonest is a constant
        [np.ones((8, 3)), np.ones((8, 4)), np.ones((8, 5))],  # a shape for each batch
        [np.array(["a"] * 8, object)] * 3,
        [np.int64(8)] * 3,
    ]
    deciding = MeanDivergence(Reading("y", "classes"))
    for side in sides:

        def beside(values: NDArray[Any], side: list[Any] = side) -> list[Outputs]:
            return [{"y": y, "side": one} for y, one in zip(values, side, strict=True)]

        reference = beside(scores)
        assert not is_constant(deciding, reference, beside(0.9 * scores))
        assert is_constant(deciding, reference, beside(np.ones((3, 8, 4))))
    ragged = answering(np.ones((8, 3)), np.ones((8, 4)))
    assert not is_constant(relative_error, ragged, ragged)


def test_integers_are_constant_where_their_commonest_is_as_near() -> None:
    maps = np.random.default_rng(0).choice([3, 7, 9], (3, 8, 6), p=[0.6, 0.2, 0.2])
    near = maps.copy()
    near[:, ::4] = 3
    for kind in (np.int64, np.float32):
        reference = answering(*maps.astype(kind))
        by = MeanDivergence(Reading("y", "integers", common=3))
        assert not is_constant(by, reference, answering(*near.astype(kind)))
        assert is_constant(by, reference, answering(*np.full((3, 8, 6), 3, kind)))
        assert is_constant(by, reference, answering(*np.full((3, 8, 6), 7, kind)))
        # Different from sample to sample, but wrong everywhere.
        wrong = np.where(maps == 3, 7, 3).astype(kind)
        assert is_constant(by, reference, answering(*wrong))


def test_an_idle_group_does_not_coarsen_the_others() -> None:
    random = np.random.default_rng(0)
    weights = random.standard_normal((8, 1, 9))
    factors = np.stack([np.eye(9, dtype=np.float32)] * 8)
    alone = steps_of(weights, factors, 1e-3, COARSENESS)
    idle = factors.copy()
    idle[0] *= 1e8
    one = steps_of(weights, idle, 1e-3, COARSENESS)
    assert float(one) == pytest.approx(float(alone), rel=0.1)
    for spacing in BY_GROUP:
        each = steps_of(weights, idle, 1e-3, COARSENESS, spacing)
        assert each.shape == (8,)
        assert (each[1:] < 0.5 * np.abs(weights[1:, 0]).max(axis=1)).all(), spacing


def test_steps_of_their_own_share_the_error_out() -> None:
    weights = np.random.default_rng(0).standard_normal((3, 2, 9))
    scales = np.array([0.1, 0.5, 2.0], np.float32)
    factors = scales[:, None, None] * np.eye(9, dtype=np.float32)
    steps = steps_of(weights, factors, 1e-2, COARSENESS, "error").reshape(3, 2)
    assert np.allclose(steps / steps[:1], scales[:, None] / scales[0], rtol=0.02)
    energies = (weights**2).sum(axis=2) / scales[:, None] ** 2
    by_energy = steps_of(weights, factors, 1e-3, COARSENESS, "energy").reshape(3, 2)
    errors = (by_energy / scales[:, None]) ** 2
    assert np.allclose(errors / errors.mean(), energies / energies.mean(), rtol=0.03)


def test_a_group_that_was_never_active_may_be_so_now_and_then() -> None:
    second = np.stack([np.eye(4), 3 * np.eye(4), np.zeros((4, 4))]).astype(np.float32)
    mean = np.zeros((3, 4), np.float32)
    found = awake(Moments(mean, second, 640, samples=100))
    assert np.array_equal(found[:2], second[:2])
    assert np.allclose(found[2], 3 / 100 * (1 + 3 + 0) / 3 * np.eye(4))
    few = awake(Moments(mean, second, 64, samples=1))
    assert np.allclose(few[2], 4 / 3 * np.eye(4))
    assert awake(Moments(mean[:1], second[2:], 64, samples=8)) is not second
    assert not awake(Moments(mean[:1], second[2:], 64, samples=8)).any()
    assert not second[2].any()


def test_a_sample_that_fills_a_batch_is_one_sample() -> None:
    model = network("depthwise", "relu6", 0)
    layers = find_layers(model)
    alone = drawn(0, 3, 1)
    filled = [{"x": np.repeat(batch["x"], 4, axis=0)} for batch in alone]
    for samples in (alone, filled, filled + filled):
        found = input_moments(model, layers, samples)
        assert {moments.samples for moments in found.values()} == {3}
    assert {m.samples for m in input_moments(model, layers, drawn(0, 3, 4)).values()} == {12}


def test_nearest_takes_no_more_bits_than_it_may() -> None:
    ready = prepare(network("depthwise", "relu6", 0), drawn(0, 8, 4), DIVERGENCE)
    weights = sum(part.weights.size for part in ready.parts)
    for plain_kind in PLAIN:
        for bits in (2.0, 5.0):
            point = point_of(ready.parts, to_nearest(ready.parts, bits * weights, plain_kind), 1.0)
            assert 0.9 * bits * weights <= all_bits(point) <= bits * weights


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Write a network with channels that are never active, and data in an .npz."""
    folder = tmp_path_factory.mktemp("idle")
    model, data = folder / "model.onnx", folder / "data.npz"
    onnx.save(network("dead channels", "relu6", 0), model)
    samples = np.concatenate([batch["x"] for batch in drawn(0, 24, 8)])
    split = np.repeat(["train", "val", "test"], 64)
    np.savez(data, x=samples, split=split)
    return model, data


def test_a_network_with_idle_channels_keeps_its_answers(idle: tuple[Path, Path]) -> None:
    model, data = idle
    out = model.with_name("small.onnx")
    found = quantize_file(
        model, out, "rate-distortion", data=data, target=Target(bits_per_weight=4.0)
    )
    assert isinstance(found, Comparison)
    assert found.evaluation.agreement > 0.9
    small = onnx.load(out)
    for tensor in small.graph.initializer:
        if tensor.name.endswith("_quantized"):
            assert numpy_helper.to_array(tensor).any(), tensor.name


def test_a_walk_that_begins_at_a_constant_answer_goes_on(
    idle: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = idle
    monkeypatch.setattr(rate, "TYPICAL", 40.0)
    refuse = Prepared.refuse_constant
    refused: list[bool] = []

    def heard(ready: Prepared, point: Point) -> None:
        refused.append(True)
        refuse(ready, point)
        refused[-1] = False

    monkeypatch.setattr(Prepared, "refuse_constant", heard)
    found = quantize_file(
        model,
        model.with_name("walked.onnx"),
        "rate-distortion",
        data=data,
        target=Target(max_drop=60.0),
    )
    assert isinstance(found, Comparison)
    assert found.evaluation.agreement > 0.3
    assert refused[0]
    assert not refused[-1]


def test_bytes_that_only_a_constant_answer_takes_are_refused(idle: tuple[Path, Path]) -> None:
    model, data = idle
    out = model.with_name("none.onnx")
    least = len(brotli.compress(onnx.load(model).SerializeToString())) // 30
    with pytest.raises(OptionError, match="no point of") as caught:
        quantize_file(model, out, "rate-distortion", data=data, target=Target(max_bytes=least))
    assert caught.value.where == "--max-bytes"
    assert not out.exists()
