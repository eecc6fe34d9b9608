"""What ``inspect`` says is what the model is."""

from __future__ import annotations

import math
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from sprat.model.inspect import Inspection, TensorInfo, inspect
from sprat.model.load import save
from sprat.model.wire import RUNTIME_BROTLI_BYTES, brotli_bytes, gzip_bytes, wire_bytes
from sprat.model.work import multiply_adds
from sprat.quantization.configs import Dynamic, Weights
from sprat.quantization.quantize import quantize
from tests.models import (
    Builder,
    cnn_with_batch_norm,
    depthwise_cnn,
    mlp,
    one_logit_cnn,
    with_external_data,
)


def _inspect(model: onnx.ModelProto, folder: Path) -> Inspection:
    return inspect(save(model, folder / "model.onnx"))


def test_it_says_what_the_file_holds(tmp_path: Path) -> None:
    model = one_logit_cnn()
    found = _inspect(model, tmp_path)
    weights = [numpy_helper.to_array(t) for t in model.graph.initializer]
    content = (tmp_path / "model.onnx").read_bytes()
    assert found.file_bytes == found.wire.raw == len(content)
    assert found.parameters == sum(w.size for w in weights)
    assert found.parameter_bytes == found.dtypes["float32"] == 4 * found.parameters
    assert (found.opset, found.ir_version, found.producer) == (17, 9, "tests")
    assert found.inputs == (TensorInfo("input", "float32", ("n", 3, 16, 16)),)
    assert found.outputs == (TensorInfo("output", "float32", ("n", 1)),)
    assert found.operators["Conv"] == found.operators["Relu"] == 3
    assert found.wire.brotli == brotli_bytes(content)
    assert found.wire.gzip == gzip_bytes(content)
    assert not found.wire.estimated
    assert found.waste == ()


def test_layers_are_the_model_by_share_of_bytes_and_work(tmp_path: Path) -> None:
    found = _inspect(one_logit_cnn(), tmp_path)
    assert [layer.name for layer in found.layers] == ["conv3", "conv2", "conv1", "output"]
    largest = found.layers[0]
    assert (largest.operator, largest.weight) == ("Conv", "conv3.weight")
    assert largest.shape == (32, 32, 3, 3)
    assert largest.bytes == 4 * (32 * 32 * 9 + 32)
    assert largest.multiply_adds == 32 * 32 * 9 * 8 * 8
    assert sum(layer.bytes_share for layer in found.layers) == pytest.approx(1)
    assert sum(layer.multiply_adds_share for layer in found.layers) == pytest.approx(1)
    assert found.multiply_adds == sum(layer.multiply_adds for layer in found.layers)


def _macs(operator: str, data: list[int], weight: list[int], **attributes: object) -> int:
    b = Builder()
    b.node(operator, ["input", b.weight("w", *weight)], "output", **attributes)
    out = onnx.shape_inference.infer_shapes(
        helper.make_model(
            helper.make_graph(
                b.nodes,
                "g",
                [helper.make_tensor_value_info("input", 1, data)],
                [helper.make_tensor_value_info("output", 1, None)],
                b.weights,
            ),
            opset_imports=[helper.make_opsetid("", 17)],
        )
    )
    return sum(multiply_adds(out).counts.values())


def test_multiply_adds_follow_the_textbook() -> None:
    assert _macs("Conv", [2, 6, 8, 8], [4, 6, 3, 3]) == 2 * 4 * 6 * 6 * 6 * 9
    assert _macs("Conv", [1, 6, 8, 8], [6, 1, 3, 3], group=6, pads=[1] * 4) == 6 * 8 * 8 * 9
    assert _macs("ConvTranspose", [1, 6, 8, 8], [6, 4, 2, 2], strides=[2, 2]) == 6 * 64 * 4 * 4
    assert _macs("MatMul", [5, 7, 3], [3, 4]) == 5 * 7 * 3 * 4
    assert _macs("MatMul", [2, 5, 7, 3], [2, 5, 3, 4]) == 10 * 7 * 3 * 4
    assert _macs("Gemm", [5, 3], [3, 4]) == 5 * 3 * 4
    assert _macs("Gemm", [5, 3], [4, 3], transB=1) == 5 * 3 * 4
    assert _macs("Relu", [5, 3], [1]) == 0


def _freed(*axes: int) -> onnx.ModelProto:
    """Leave axes of the input free, and flatten as exports do: by the size of the first axis."""
    b = Builder()
    x = b.conv("input", "conv", 3, 8, stride=2)
    size = b.node("Shape", [x], "shape")
    first = b.node("Gather", [size, b.constant(np.array([0]), "zero")], "first")
    to = b.node("Concat", [first, b.constant(np.array([-1]), "rest")], "to", axis=0)
    flat = b.node("Reshape", [x, to], "flat")
    b.node("MatMul", [flat, b.weight("head", 8 * 8 * 8, 10)], "output")
    model = b.model({"input": [1, 3, 16, 16]}, {"output": [1, 10]}, name="freed")
    for axis in axes:
        for value in (model.graph.input[0], *(model.graph.output if axis == 0 else ())):
            value.type.tensor_type.shape.dim[axis].dim_param = ("n", "c", "height", "width")[axis]
    return model


_FREED_WORK = 3 * 9 * 8 * 8 * 8 + 8 * 8 * 8 * 10


def test_multiply_adds_are_of_one_sample_of_the_stated_size(tmp_path: Path) -> None:
    assert _inspect(_freed(), tmp_path).multiply_adds == _FREED_WORK
    assert _inspect(_freed(0), tmp_path).multiply_adds == _FREED_WORK
    free = _inspect(_freed(0, 2, 3), tmp_path)
    assert (free.multiply_adds, free.uncounted) == (0, 2)
    assert free.free == ("height of 'input'", "width of 'input'")
    path = save(_freed(0, 2, 3), tmp_path / "free.onnx")
    stated = inspect(path, shapes={"input": (1, 3, 16, 16)})
    assert (stated.multiply_adds, stated.uncounted) == (_FREED_WORK, 0)
    sized = inspect(save(_freed(0, 1, 2, 3), path), size=(16, 16))
    assert sized.multiply_adds == _FREED_WORK


def test_the_command_line_says_what_is_not_counted(tmp_path: Path) -> None:
    path = save(_freed(0, 2, 3), tmp_path / "model.onnx")
    command = [sys.executable, "-m", "sprat", "inspect", str(path)]

    def said(*words: str) -> str:
        done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
        return " ".join((done.stdout + done.stderr).split())

    assert "multiply-adds not counted: height of 'input', width of 'input' free" in said()
    assert "0 M multiply-adds a sample" in said("--shape", "input=1x3x16x16")
    assert "does not fit 'input'" in said("--shape", "1x4x16x16")
    assert "must be INPUT=" in said("--shape", "other=1x3x16x16")
    (tmp_path / "preprocessor_config.json").write_text('{"size": {"height": 16, "width": 16}}')
    assert "not counted" not in said()
    model = _freed()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 8
    save(model, path)  # eight samples in each run
    assert "M multiply-adds a run" in said()


def test_shapes_that_could_grow_are_not_followed() -> None:
    """Each Concat doubles a vector of shapes: forty of them would fill a terabyte."""
    b = Builder()
    last = b.node("Shape", ["input"], "s0")
    for i in range(1, 41):
        last = b.node("Concat", [last, last], f"s{i}", axis=0)
    b.node("Reshape", ["input", last], "output")
    model = b.model({"input": ["n", 3]}, {"output": ["k"]}, name="doubling")
    assert multiply_adds(model).counts == {}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_quantized_model_does_the_same_work_in_the_same_layers(tmp_path: Path) -> None:
    original = one_logit_cnn()
    wanted = _inspect(original, tmp_path)
    weights = _inspect(quantize(original, Weights()), tmp_path)
    dynamic = _inspect(quantize(original, Dynamic()), tmp_path)
    assert weights.multiply_adds == dynamic.multiply_adds == wanted.multiply_adds
    assert [la.operator for la in weights.layers[:3]] == ["Conv"] * 3
    assert [la.operator for la in dynamic.layers[:3]] == ["ConvInteger"] * 3
    assert [la.shape for la in weights.layers[:3]] == [la.shape for la in wanted.layers[:3]]
    assert "compare" in weights.advice[0].command
    assert weights.dtypes["int8"] > weights.dtypes["float32"]


def test_waste_is_named_and_counted(tmp_path: Path) -> None:
    model = cnn_with_batch_norm()
    spare = numpy_helper.from_array(np.ones((8, 8), np.float32), "spare")
    copy = numpy_helper.from_array(np.ones((8, 8), np.float32), "copy")
    model.graph.initializer.extend([spare, copy])
    node = model.graph.node[-1]
    node.output[0] = "logits"
    model.graph.node.append(helper.make_node("Dropout", ["logits"], ["kept"]))
    model.graph.node.append(helper.make_node("Identity", ["kept"], ["output"]))
    assert _inspect(model, tmp_path).waste == (
        "3 BatchNormalization, 3 foldable into the layer before",
        "1 Identity node doing nothing",
        "1 Dropout node doing nothing",
        "2 unused initializers, 512 bytes",
        "initializers that are there twice, 256 bytes",
    )


def test_weights_in_constant_nodes_count(tmp_path: Path) -> None:
    model = mlp()
    weights = list(model.graph.initializer)
    del model.graph.initializer[:]
    for tensor in reversed(weights):
        node = helper.make_node("Constant", [], [tensor.name], value=tensor)
        model.graph.node.insert(0, node)
    found = _inspect(model, tmp_path)
    assert found.parameters == 32 * 64 + 64 + 64 * 4 + 4
    assert [layer.operator for layer in found.layers] == ["MatMul", "MatMul"]
    assert found.waste == ("4 Constant nodes that could be initializers",)


@pytest.mark.parametrize(
    ("model", "words", "bits"),
    [
        (cnn_with_batch_norm(), "CNN, 3 Conv, 1 Gemm, 0.01 M parameters", 0.5),
        (one_logit_cnn(), "CNN, 3 Conv, 1 Gemm, 0.01 M parameters", 0.5),
        (
            depthwise_cnn(),
            "compact CNN with depthwise convolutions, 7 Conv (3 grouped), 1 Gemm, "
            "0.00 M parameters",
            3.0,
        ),
        (mlp(), "network, 2 MatMul, 0.00 M parameters", 3.0),
    ],
)
def test_architecture_and_advice_fit_the_model(
    model: onnx.ModelProto, words: str, bits: float, tmp_path: Path
) -> None:
    found = _inspect(model, tmp_path)
    assert found.architecture == words
    optimize, *int8, half = found.advice  # none of int8 where all weights are small
    path = shlex.quote(str(tmp_path / "model.onnx"))
    assert optimize.command == f"sprat optimize {path} --data DATA --out small"
    assert f"{bits:g} bits" in optimize.why
    sizes = [advice.expected_bytes for advice in (optimize, *int8, half)]
    assert sizes == sorted(set(sizes))
    assert sizes[-1] <= found.wire.brotli
    weights = [tensor.dims for tensor in model.graph.initializer]
    assert bool(int8) == any(math.prod(dims) >= 1024 for dims in weights)


def test_a_stranger_s_names_do_not_reach_the_shell(tmp_path: Path) -> None:
    path = save(mlp(), tmp_path / "a b;rm -rf $HOME.onnx")
    found = inspect(path)
    assert shlex.split(found.advice[0].command)[2] == str(path)  # with its folder


def test_downloads_are_bytes_by_speed(tmp_path: Path) -> None:
    found = _inspect(one_logit_cnn(), tmp_path)
    assert [d.mbps for d in found.downloads] == [50, 10, 1]
    slow = found.downloads[-1]
    assert slow.seconds_raw == found.file_bytes * 8 / 1e6
    assert slow.seconds == found.wire.brotli * 8 / 1e6
    assert slow.seconds_with_runtime == pytest.approx(slow.seconds + RUNTIME_BROTLI_BYTES * 8 / 1e6)


def test_external_data_counts_as_part_of_the_download(tmp_path: Path) -> None:
    path = with_external_data(tmp_path / "model.onnx")
    size = path.stat().st_size + (tmp_path / "model.onnx.data").stat().st_size
    assert inspect(path).file_bytes == size


def test_a_negative_dimension_is_dynamic(tmp_path: Path) -> None:
    model = mlp()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    assert _inspect(model, tmp_path).inputs[0].shape == ("?", 32)


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([1, 8, 60]))
def test_the_estimate_is_near_the_exact_size(seed: int, scale: int) -> None:
    values = np.random.default_rng(seed).standard_normal(2_300_000) * scale
    content = np.rint(values).astype(np.int8).tobytes()
    guess, exact = wire_bytes(content, exact=False), gzip_bytes(content)
    assert guess.estimated
    assert guess.gzip == pytest.approx(exact, rel=0.02)


def test_exact_is_exact(tmp_path: Path) -> None:
    model = mlp(features=640, hidden=900)
    path = save(model, tmp_path / "model.onnx")
    stages: list[float] = []
    found = inspect(path, exact=True, progress=lambda _stage, done, _total: stages.append(done))
    assert found.wire == wire_bytes(path.read_bytes())
    assert inspect(path).wire.brotli == pytest.approx(found.wire.brotli, rel=0.02)
    assert stages == [0, 1]


def test_it_answers_without_the_heavy_libraries(tmp_path: Path) -> None:
    path = save(one_logit_cnn(), tmp_path / "model.onnx")
    code = (
        "import sys; from pathlib import Path; from sprat.model.inspect import inspect; "
        f"inspect(Path({str(path)!r})); "
        "print([m for m in ('onnxruntime', 'numba', 'scipy', 'altair', 'onnxslim', 'onnxscript', "
        "'sympy', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONWARNINGS": ""},
    )
    assert done.stdout == "[]\n"


def test_weights_in_the_bodies_of_an_if_are_counted_and_told(tmp_path: Path) -> None:
    def branch(name: str, factor: float) -> onnx.GraphProto:
        weights = numpy_helper.from_array(np.full((8, 256), factor, np.float32), f"w-{name}")
        node = helper.make_node("Constant", [], [name], value=weights)
        return helper.make_graph([node], name, [], [vector(name, 8, 256)])

    def vector(name: str, *shape: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)

    chosen = helper.make_tensor_value_info("chosen", onnx.TensorProto.BOOL, [])
    node = helper.make_node(
        "If", ["chosen"], ["y"], then_branch=branch("a", 1.0), else_branch=branch("b", 2.0)
    )
    graph = helper.make_graph([node], "g", [chosen], [vector("y", 8, 256)])
    found = _inspect(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path
    )
    assert found.parameters == 2 * 8 * 256
    assert found.dtypes == {"float32": 4 * found.parameters}
    (advice,) = found.advice
    assert "bodies of If" in advice.why
