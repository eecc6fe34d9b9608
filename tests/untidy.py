"""One small graph or more for each cleaning pass, with the nodes that a right pass leaves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

_IMAGE = (1, 4, 8, 8)
node = helper.make_node


@dataclass(frozen=True)
class Untidy:
    """A graph that a pass has something to do in.

    Attributes:
        name: The pass, and the variant behind a dot.
        model: From ``x`` to ``y``.
        nodes: Nodes that are left when the pass is done.
    """

    name: str
    model: onnx.ModelProto
    nodes: int

    @property
    def step(self) -> str:
        """Name of the pass."""
        return self.name.partition(".")[0]


def graph(
    nodes: Sequence[onnx.NodeProto],
    weights: Mapping[str, Any] | None = None,
    *,
    shape: Sequence[int | str] = _IMAGE,
    opset: int = 17,
) -> onnx.ModelProto:
    """Build a model from float32 ``x`` to ``y``; its shape is inferred, weights are arrays."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in (weights or {}).items()]
    model = helper.make_model(
        helper.make_graph(nodes, "untidy", [x], [y], tensors),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
    )
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    model.graph.output[0].CopyFrom(inferred.graph.output[0])
    return model


def untidy() -> Iterator[Untidy]:
    """Yield a graph or more for each pass that drops, folds or merges."""
    yield from _dead()
    yield from _nops()
    yield from _constants()
    yield from _norms()
    yield from _merges()


def normal(*shape: int) -> NDArray[np.float32]:
    """Return seeded normal values."""
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def _dead() -> Iterator[Untidy]:
    relu = node("Relu", ["x"], ["y"])
    yield Untidy("eliminate_deadend", graph([relu, node("Neg", ["x"], ["dead"])]), 1)
    yield Untidy("eliminate_unused_initializer", graph([relu], {"w": normal(100)}), 1)
    twice = [node("Relu", ["x"], ["a"]), node("Relu", ["x"], ["b"]), node("Add", ["a", "b"], ["y"])]
    yield Untidy("eliminate_common_subexpression", graph(twice), 2)
    sums = [node("Add", ["x", "w"], ["a"]), node("Mul", ["a", "v"], ["y"])]
    weights = {"w": normal(8, 8), "v": normal(8, 8)}
    yield Untidy("deduplicate_initializers", graph(sums, weights), 2)


def _nops() -> Iterator[Untidy]:
    relu = node("Relu", ["a"], ["y"])
    around = [node("Identity", ["x"], ["b"]), node("Relu", ["b"], ["a"])]
    yield Untidy("eliminate_identity", graph([*around, node("Identity", ["a"], ["y"])]), 1)
    yield Untidy("eliminate_nop_dropout", graph([node("Dropout", ["x"], ["a"]), relu]), 1)
    ratio = [node("Dropout", ["x", "ratio"], ["a", "mask"]), relu]
    yield Untidy("eliminate_nop_dropout.ratio", graph(ratio, {"ratio": np.float32(0.3)}), 1)
    pad = [node("Pad", ["x", "pads"], ["a"]), relu]
    yield Untidy("eliminate_nop_pad", graph(pad, {"pads": np.zeros(8, np.int64)}), 1)
    old = [node("Pad", ["x"], ["a"], pads=[0] * 8), relu]
    yield Untidy("eliminate_nop_pad.opset10", graph(old, opset=10), 1)
    same = [node("Transpose", ["x"], ["a"], perm=[0, 1, 2, 3]), relu]
    yield Untidy("eliminate_nop_transpose", graph(same), 1)
    cast = [node("Cast", ["x"], ["a"], to=TensorProto.FLOAT), relu]
    yield Untidy("eliminate_nop_cast", graph(cast), 1)


def _constants() -> Iterator[Untidy]:
    constant = node("Constant", [], ["c"], value=numpy_helper.from_array(normal(8, 8)))
    yield Untidy("lift_constants", graph([constant, node("Add", ["x", "c"], ["y"])]), 1)
    sums = [
        node("Mul", ["w", "two"], ["e"]),
        node("Sqrt", ["e"], ["f"]),
        node("Add", ["x", "f"], ["y"]),
    ]
    weights = {"w": np.abs(normal(4, 1, 1)), "two": np.float32(2)}
    yield Untidy("fold_constants", graph(sums, weights), 1)
    shape = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "first"], ["b"], axis=0),
        node("Concat", ["b", "rest"], ["t"], axis=0),
        node("Reshape", ["x", "t"], ["y"]),
    ]
    indices = {"first": np.array([0]), "rest": np.array([-1])}
    yield Untidy("fold_constants.shape", graph(shape, indices), 1)


def _norms() -> Iterator[Untidy]:
    norm = node("BatchNormalization", ["a", "s", "b", "m", "v"], ["y"])
    rows = {k: np.abs(normal(4)) + 0.5 for k in "sbmv"}
    for name, layer, weights in (
        ("fuse_bn_into_conv", node("Conv", ["x", "w"], ["a"]), {"w": normal(4, 4, 3, 3)}),
        (
            "fuse_bn_into_conv.bias",
            node("Conv", ["x", "w", "bias"], ["a"]),
            {"w": normal(4, 4, 3, 3), "bias": normal(4)},
        ),
        (
            "fuse_bn_into_conv.grouped",
            node("Conv", ["x", "w"], ["a"], group=2),
            {"w": normal(4, 2, 3, 3)},
        ),
        (
            "fuse_bn_into_conv.transposed",
            node("ConvTranspose", ["x", "w"], ["a"]),
            {"w": normal(4, 4, 3, 3)},
        ),
    ):
        yield Untidy(name, graph([layer, norm], {**weights, **rows}), 1)
    gemm = [node("Gemm", ["x", "w"], ["a"]), norm]
    gemm_weights = {"w": normal(6, 4), **rows}
    yield Untidy("fuse_bn_into_conv.gemm", graph(gemm, gemm_weights, shape=(2, 6)), 1)


def _merges() -> Iterator[Untidy]:
    pad = [node("Pad", ["x", "pads"], ["a"]), node("Conv", ["a", "w"], ["y"])]
    pads = {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "w": normal(4, 4, 3, 3)}
    yield Untidy("fuse_pad_into_conv", graph(pad, pads), 1)
    squeeze = [node("Squeeze", ["x", "i"], ["a"]), node("Squeeze", ["a", "j"], ["y"])]
    axes = {"i": np.array([0]), "j": np.array([0])}
    one = (1, 1, 8, 8)
    yield Untidy("fuse_consecutive_squeezes", graph(squeeze, axes, shape=one), 1)
    old = [node("Squeeze", ["x"], ["a"], axes=[0]), node("Squeeze", ["a"], ["y"], axes=[0])]
    yield Untidy("fuse_consecutive_squeezes.opset12", graph(old, shape=one, opset=12), 1)
    turn = [
        node("Transpose", ["x"], ["a"], perm=[0, 2, 3, 1]),
        node("Transpose", ["a"], ["b"], perm=[0, 2, 3, 1]),
        node("Relu", ["b"], ["y"]),
    ]
    yield Untidy("fuse_consecutive_transposes", graph(turn), 2)
    reshape = [node("Reshape", ["x", "i"], ["a"]), node("Reshape", ["a", "j"], ["y"])]
    shapes = {"i": np.array([4, 64]), "j": np.array([2, 128])}
    yield Untidy("fuse_consecutive_reshapes", graph(reshape, shapes), 1)
    gemm = [node("Transpose", ["x"], ["a"], perm=[1, 0]), node("Gemm", ["a", "w"], ["y"])]
    yield Untidy("fuse_transpose_into_gemm", graph(gemm, {"w": normal(4, 5)}, shape=(4, 3)), 1)
    product = [node("MatMul", ["x", "w"], ["a"]), node("Add", ["a", "b"], ["y"])]
    weights = {"w": normal(4, 5), "b": normal(5)}
    yield Untidy("fuse_matmul_add_into_gemm", graph(product, weights, shape=(3, 4)), 1)
    swish = [
        node("Add", ["x", "three"], ["a"]),
        node("Clip", ["a", "zero", "six"], ["b"]),
        node("Mul", ["x", "b"], ["c"]),
        node("Div", ["c", "six"], ["y"]),
    ]
    numbers = {k: np.float32(v) for k, v in (("three", 3), ("zero", 0), ("six", 6))}
    yield Untidy("fuse_hardswish", graph(swish, numbers), 1)
