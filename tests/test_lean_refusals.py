"""What the lean runtime's compiler refuses: every error text, as a reader sees it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from sprat.errors import LeanUnsupportedError
from sprat.lean.compile import compile_model
from tests.lean import random, single, unchecked

IMAGE = [1, 2, 4, 4]
SEVEN = [2, 3, 2, 3, 2, 3, 2]
#: Resize's second input, left empty.
NO_REGION = np.zeros(0, np.float32)
#: A model, where it is refused, and why.
Cases = dict[str, tuple[onnx.ModelProto, str, str]]


def node(op: str, inputs: list[str], output: str = "y", **more: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs, [output], name="the-node", **more)


def added(first: onnx.NodeProto, **weights: Any) -> onnx.ModelProto:
    """A model that adds what a node makes to ``x``."""
    nodes = [first, helper.make_node("Add", ["x", first.output[0]], ["y"])]
    return unchecked(nodes, weights, [1, 4])


def conv(shape: list[int], *weight: int, **more: Any) -> Any:
    return single("Conv", shape, random(*weight), **more)


def split(*sizes: int) -> onnx.ModelProto:
    one = helper.make_node("Split", ["x", "w"], ["y", "z"], name="the-node", axis=1)
    return unchecked([one], {"w": np.array(sizes)}, [1, 4])


#: What the lean runtime does not have.
ABSENT: Cases = {
    "nan": (
        single("LeakyRelu", IMAGE, alpha=math.nan),
        "LeakyRelu",
        "a number that is infinite or none (NaN) is not there",
    ),
    "domain": (
        single("FusedConv", IMAGE, domain="com.microsoft"),
        "FusedConv",
        "the operator set 'com.microsoft' is not there",
    ),
    "text": (
        added(node("Constant", [], "c", value_string="a")),
        "Constant",
        "sparse and text constants are not there",
    ),
    "large-constant": (
        added(node("ConstantOfShape", ["s"], "c"), s=np.array([10**5, 10**5])),
        "ConstantOfShape",
        "it makes a constant of about 2e+10 numbers; 16,777,216 are the most",
    ),
    "gelu": (
        single("Gelu", [1, 4], opset=20, approximate="sigmoid"),
        "Gelu, attribute approximate",
        "only none and tanh, not 'sigmoid', are there",
    ),
    "auto-pad": (
        conv(IMAGE, 2, 2, 3, 3, auto_pad="SAME"),
        "Conv, attribute auto_pad",
        "only NOTSET, VALID, SAME_UPPER and SAME_LOWER, not 'SAME', are there",
    ),
    "transposed-pads": (
        single("ConvTranspose", IMAGE, random(2, 2, 2, 2), pads=[2, 2, 2, 2]),
        "ConvTranspose, attribute pads",
        "pads as large as the kernel are not there",
    ),
    "no-indices": (
        single("Gather", [1, 4], np.zeros(0, np.int64)),
        "Gather, input indices",
        "an empty list of indices is not there",
    ),
    "cast": (
        single("Cast", [1, 4], to=TensorProto.INT64),
        "Cast, attribute to",
        "a cast to int64 is not there",
    ),
    "cutting": (
        single("Pad", [1, 4], np.array([0, -1, 0, 0])),
        "Pad, pads",
        "cutting, as the pads [0, -1, 0, 0] do, is not there",
    ),
    "pad-mode": (
        single("Pad", [1, 4], np.array([0, 1, 0, 1]), mode="symmetric"),
        "Pad, attribute mode",
        "only constant, edge, reflect, wrap, not 'symmetric', are there",
    ),
    "nearest-mode": (
        single("Resize", [1, 4], NO_REGION, np.array([1, 2], np.float32), nearest_mode="up"),
        "Resize, attribute nearest_mode",
        "only round_prefer_floor, round_prefer_ceil, floor, ceil, not 'up', are there",
    ),
    "many-axes": (
        unchecked(
            [helper.make_node("Transpose", ["x"], ["t"]), node("Add", ["x", "t"])], {}, [2] * 7
        ),
        "Add",
        "reordering or repeating a tensor of shape [2, 2, 2, 2, 2, 2, 2] needs 7 axes; 6 are there",
    ),
}

#: What no runtime could do, whatever the model is given.
BROKEN: Cases = {
    "axis": (
        single("Softmax", [1, 4], axis=7),
        "Softmax, attribute axis",
        "7 is no axis of a tensor that has 2",
    ),
    "left-out": (
        unchecked([node("Add", ["x", ""])], {}, [1, 4]),
        "Add, input 2",
        "it is left out and must be given",
    ),
    "scales": (
        added(
            node("DequantizeLinear", ["q", "s"], "d"),
            q=np.zeros((2, 4), np.int8),
            s=np.ones(3, np.float32),
        ),
        "DequantizeLinear, input x_scale",
        "scales of shape [3] do not fit axis 1 of [2, 4]",
    ),
    "strides": (
        conv(IMAGE, 2, 2, 3, 3, strides=[1]),
        "Conv",
        "strides [1], dilations [1, 1] and pads [0, 0, 0, 0] do not fit a kernel of 2 axes",
    ),
    "stride-0": (
        conv(IMAGE, 2, 2, 3, 3, strides=[1, 0], pads=[1, 1, 1, 1]),
        "Conv",
        "kernel [3, 3], strides [1, 0] and dilations [1, 1] must be at least 1, and pads "
        "[1, 1, 1, 1] at least 0",
    ),
    "weights-axes": (
        conv(IMAGE, 2, 2, 3),
        "Conv, input W",
        "weights of 3 axes do not fit an input of 4",
    ),
    "pool-kernel": (
        single("MaxPool", IMAGE, kernel_shape=[2]),
        "MaxPool, attribute kernel_shape",
        "[2] does not fit an input of shape [1, 2, 4, 4]",
    ),
    "reshape-0": (
        single("Reshape", [1, 4], np.array([1, 4, 0])),
        "Reshape, shape",
        "a 0 in [1, 4, 0] copies an axis that the input, [1, 4], does not have",
    ),
    "perm": (
        single("Transpose", [1, 4], perm=[0, 0]),
        "Transpose, attribute perm",
        "[0, 0] is no order of 2 axes",
    ),
    "step": (
        single("Slice", [1, 4], *map(np.array, ([0], [4], [1], [0]))),
        "Slice, input steps",
        "a step of 0 goes nowhere",
    ),
    "pads": (
        single("Pad", [1, 4], np.array([1, 1])),
        "Pad, pads",
        "2 pads do not fit 2 axes, which take 4",
    ),
    "gemm": (
        single("Gemm", [1, 2, 3], random(3, 4)),
        "Gemm",
        "inputs of shapes [1, 2, 3] and [3, 4] must have two axes each",
    ),
    "resize_scales": (
        single("Resize", IMAGE, np.zeros(0, np.float32), np.array([2, 2], np.float32)),
        "Resize, input scales",
        "2 scales do not fit 4 axes",
    ),
    "resize_sizes": (
        single(
            "Resize", IMAGE, np.zeros(0, np.float32), np.zeros(0, np.float32), np.array([1] * 5)
        ),
        "Resize, input sizes",
        "5 sizes do not fit 4 axes",
    ),
    "upsample": (
        single("Upsample", IMAGE, np.array([2, 2], np.float32), opset=9),
        "Upsample, input scales",
        "2 scales do not fit 4 axes",
    ),
}

#: What does not fit the shapes that the model is given.
MISFIT: Cases = {
    "groups": (
        conv(IMAGE, 4, 2, 3, 3, group=2),
        "Conv",
        "weights of shape [4, 2, 3, 3] do not fit 2 channels in 2 groups",
    ),
    "conv-window": (
        conv(IMAGE, 2, 2, 3, 3, dilations=[2, 3]),
        "Conv",
        "a window of [5, 7] is larger than height and width [4, 4] with their pads",
    ),
    "pool-window": (
        single("MaxPool", IMAGE, kernel_shape=[2, 5]),
        "MaxPool",
        "a window of [2, 5] is larger than height and width [4, 4] with their pads",
    ),
    "index": (
        single("Gather", [1, 4], np.array([0, -5]), axis=1),
        "Gather, input indices",
        "-5 is no index of axis 1, which has 4",
    ),
    "reshape": (
        single("Reshape", [1, 4], np.array([3, -1])),
        "Reshape",
        "shape [1, 4] cannot become [3, 1]",
    ),
    "squeeze": (
        single("Squeeze", [1, 4], np.array([0, -1])),
        "Squeeze, axes",
        "axes [0, 1] of shape [1, 4] are not all 1",
    ),
    "expand": (
        single("Expand", [1, 4], np.array([2, 3])),
        "Expand, input shape",
        "shape [1, 4] cannot be repeated to [2, 3]",
    ),
    "split": (
        split(1, 2),
        "Split, split",
        "[1, 2] do not cut an axis of 4 into as many parts as outputs, 2",
    ),
    "concat": (
        single("Concat", [1, 4], random(2, 3), axis=1),
        "Concat",
        "inputs of shapes [1, 4], [2, 3] differ elsewhere than along axis 1",
    ),
    "blocks": (
        single("SpaceToDepth", [1, 1, 4, 3], blocksize=2),
        "SpaceToDepth, attribute blocksize",
        "an input of shape [1, 1, 4, 3] does not divide into blocks of 2",
    ),
    "normalization": (
        single("LayerNormalization", [1, 4], random(3)),
        "LayerNormalization, input scale",
        "shape [3] does not fit [4]",
    ),
    "mirror": (
        single("Pad", [1, 4], np.array([0, 4, 0, 0]), mode="reflect"),
        "Pad, pads",
        "[0, 4, 0, 0] mirror more than the 4 of axis 1",
    ),
    "known-factor": (
        single("MatMul", [1, 4], random(3, 5)),
        "MatMul",
        "shapes [1, 4] and [3, 5] cannot be multiplied",
    ),
    "computed-factor": (
        unchecked([node("MatMul", ["x", "x"])], {}, [2, 3]),
        "MatMul",
        "shapes [2, 3] and [2, 3] cannot be multiplied",
    ),
    "resize-to-0": (
        single("Resize", [1, 4], NO_REGION, np.array([1, 0.2], np.float32)),
        "Resize, inputs scales, sizes",
        "axis 1 of 4 would become 0",
    ),
}


def refusal(model: onnx.ModelProto) -> str:
    with pytest.raises(LeanUnsupportedError) as error:
        compile_model(model)
    return str(error.value)


@pytest.mark.parametrize(("model", "where", "what"), ABSENT.values(), ids=ABSENT)
def test_what_is_not_there(model: onnx.ModelProto, where: str, what: str) -> None:
    said = f"node 'the-node', operator {where}: {what} in the lean runtime."
    assert refusal(model) == f"{said} Use ONNX Runtime Web for this model."


@pytest.mark.parametrize(("model", "where", "what"), BROKEN.values(), ids=BROKEN)
def test_what_contradicts_itself(model: onnx.ModelProto, where: str, what: str) -> None:
    said = f"node 'the-node', operator {where}: {what}."
    assert refusal(model) == f"{said} The model is wrong here: export it again."


@pytest.mark.parametrize(("model", "where", "what"), MISFIT.values(), ids=MISFIT)
def test_what_does_not_fit(model: onnx.ModelProto, where: str, what: str) -> None:
    said = f"node 'the-node', operator {where}: {what}."
    hint = "Give the input a shape that the model takes (--shape), or export the model again."
    assert refusal(model) == f"{said} {hint}"


def test_broadcasting_of_old_operator_sets() -> None:
    said = refusal(single("Add", IMAGE, random(2), opset=6, broadcast=1, axis=1))
    where = "node 'the-node', operator Add, attributes broadcast, axis"
    what = "broadcasting as in operator set 6 is not there in the lean runtime."
    assert said == f"{where}: {what} Export the model again with operator set 13 or later."


def test_what_another_library_says_is_passed_on() -> None:
    said = refusal(single("Add", [1, 4], random(3)))
    assert "operator Add: its inputs or attributes do not fit together (shape mismatch" in said
    assert "(3,)" in said
    assert "--shape" in said
    product = added(node("MatMul", ["a", "b"], "c"), a=random(2, 3), b=random(2, 3))
    said = refusal(product)
    assert "operator MatMul: it cannot be computed from its constant inputs (" in said
    assert "in the lean runtime. Use ONNX Runtime Web" in said


def test_more_memory_than_a_page_should_take() -> None:
    said = refusal(single("Relu", [1, 1 << 29]))
    assert said == (
        "graph 'small': a run takes 2.1 GB of memory; 1.1 GB are the most in the lean runtime. "
        "Give the input a smaller shape (--shape), or use ONNX Runtime Web."
    )


def test_outputs_are_floats_of_some_size() -> None:
    hint = "Let the model end in float32, or use ONNX Runtime Web for it."
    said = refusal(single("Shape", [1, 4]))
    assert said == f"output 'y': an output of type int64 is not there in the lean runtime. {hint}"
    numbers = single("Identity", [1, 4])
    numbers.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    said = refusal(numbers)
    assert (
        said == f"output 'y': an output of whole numbers is not there in the lean runtime. {hint}"
    )
    said = refusal(single("Transpose", SEVEN))
    assert said.startswith("output 'y': reordering or repeating a tensor of shape [2, 3, 2, 3")
    assert said.endswith(
        "needs 7 axes; 6 are there in the lean runtime. Use ONNX Runtime Web for this model."
    )
