"""What the cleaning passes of our own merge and leave out, and that shapes stay until the end."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sprat.graph.simplify import simplify
from sprat.model.session import Feeds, Outputs, open_session, run

node = helper.make_node


def model_of(
    nodes: list[onnx.NodeProto],
    weights: dict[str, Any],
    shape: list[Any],
    outputs: dict[str, list[Any]],
    opset: int = 18,
) -> onnx.ModelProto:
    """Build a model of float32 from ``x``, whose activations have inferred shapes."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "small",
        [value("x", TensorProto.FLOAT, shape)],
        [value(name, TensorProto.FLOAT, dims) for name, dims in outputs.items()],
        [numpy_helper.from_array(np.asarray(w), name) for name, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def weight(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def cleaned(model: onnx.ModelProto, *only: str, batch: int = 3) -> list[str]:
    """Clean a model, hold it against the original at a free batch, and return its operators."""
    found = simplify(model, only=list(only) or None).model
    onnx.checker.check_model(found, full_check=True)
    shape = [d.dim_value or batch for d in model.graph.input[0].type.tensor_type.shape.dim]
    feeds: Feeds = {"x": weight(*shape, seed=9)}
    wanted, got = answers(model, feeds), answers(found, feeds)
    for name, values in wanted.items():
        np.testing.assert_allclose(
            np.asarray(got[name], float), np.asarray(values, float), rtol=1e-4, atol=1e-5
        )
    return sorted(n.op_type for n in found.graph.node)


def answers(model: onnx.ModelProto, feeds: Feeds) -> Outputs:
    return run(open_session(model), feeds)


def parallel(op: str, sizes: list[int], *, bias: bool, after: str = "Neg") -> onnx.ModelProto:
    """Products of ``x [n, 8]`` with several weights, each with an operator behind it."""
    nodes, weights = [], {}
    for i, size in enumerate(sizes):
        weights[f"w{i}"] = weight(8, size, seed=i)
        made = [f"m{i}"]
        inputs = ["x", f"w{i}"]
        if bias:
            weights[f"b{i}"] = weight(size, seed=10 + i)
        if op == "Gemm":
            inputs += [f"b{i}"] if bias else []
        nodes.append(node(op, inputs, made))
        if bias and op == "MatMul":
            nodes.append(node("Add", [f"b{i}", made[0]], [f"s{i}"]))
            made = [f"s{i}"]
        nodes.append(node(after, made, [f"y{i}"]))
    outputs: dict[str, list[Any]] = {f"y{i}": ["n", size] for i, size in enumerate(sizes)}
    return model_of(nodes, weights, ["n", 8], outputs)


@pytest.mark.parametrize("op", ["MatMul", "Gemm"])
@pytest.mark.parametrize("bias", [False, True])
def test_products_of_one_input_become_one(op: str, bias: bool) -> None:
    found = cleaned(parallel(op, [4, 4, 6], bias=bias), "merge_products")
    one = [op] if op == "Gemm" or not bias else ["Add", op]
    assert found == sorted([*one, "Neg", "Neg", "Neg", "Split"])


def test_turned_weights_are_turned_back() -> None:
    nodes = [
        node("Gemm", ["x", "w0"], ["a"], transB=1),
        node("Gemm", ["x", "w1"], ["b"]),
        node("Gemm", ["x", "w2"], ["c"]),
        node("Sum", ["a", "b", "c"], ["y"]),
    ]
    weights = {"w0": weight(5, 8), "w1": weight(8, 5, seed=1), "w2": weight(8, 5, seed=2)}
    model = model_of(nodes, weights, ["n", 8], {"y": ["n", 5]})
    assert cleaned(model, "merge_products") == ["Gemm", "Split", "Sum"]


def test_products_that_a_kernel_finishes_stay_apart() -> None:
    """Behind a Split the Relu would be a step of its own."""
    model = parallel("Gemm", [4, 4, 6], bias=True, after="Relu")
    assert cleaned(model, "merge_products").count("Gemm") == 3


def test_a_weight_of_two_products_stays_one() -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["a"]),
        node("MatMul", ["x", "v"], ["b"]),
        node("MatMul", ["a", "w"], ["c"]),
        node("Add", ["c", "b"], ["y"]),
    ]
    weights = {"w": weight(8, 8), "v": weight(8, 8, seed=1)}
    model = model_of(nodes, weights, ["n", 8], {"y": ["n", 8]})
    assert cleaned(model, "merge_products") == ["Add", "MatMul", "MatMul", "MatMul"]


def test_reshapes_in_a_row_become_one_at_a_free_batch() -> None:
    nodes = [
        node("Reshape", ["x", "split"], ["a"]),
        node("Unsqueeze", ["a", "front"], ["b"]),
        node("Squeeze", ["b", "front"], ["c"]),
        node("Unsqueeze", ["c", "back"], ["d"]),
        node("Neg", ["d"], ["y"]),
    ]
    weights = {"split": np.array([0, 2, 4]), "front": np.array([0]), "back": np.array([3])}
    model = model_of(nodes, weights, ["n", 8], {"y": ["n", 2, 4, 1]})
    assert cleaned(model, "merge_reshapes") == ["Neg", "Reshape"]


@pytest.mark.parametrize("how", ["ConstantOfShape", "Expand"])
def test_a_state_that_is_zero_is_left_out(how: str) -> None:
    zero = numpy_helper.from_array(np.zeros(1, np.float32))
    state = (
        node(how, ["size"], ["h"], value=zero)
        if how == "ConstantOfShape"
        else node(how, ["zero", "size"], ["h"])
    )
    nodes = [
        node("Shape", ["x"], ["batch"], start=1, end=2),
        node("Concat", ["one", "batch", "width"], ["size"], axis=0),
        state,
        node("LSTM", ["x", "w", "r", "b", "", "h", "h"], ["y"], hidden_size=6),
    ]
    weights = {
        "one": np.array([1]),
        "width": np.array([6]),
        "zero": np.float32(0),
        "w": weight(1, 24, 8),
        "r": weight(1, 24, 6),
        "b": weight(1, 48),
    }
    model = model_of(nodes, weights, [5, "n", 8], {"y": [5, 1, "n", 6]})
    assert cleaned(model, "drop_zero_states") == ["LSTM"]
    other = next(t for t in model.graph.initializer if t.name == "zero")
    other.CopyFrom(numpy_helper.from_array(np.asarray(1, np.float32), "zero"))
    if how == "Expand":
        assert "Expand" in cleaned(model, "drop_zero_states")


def attention() -> onnx.ModelProto:
    """Attention as exporters write it at a free batch; the root of the width is computed."""
    nodes = []
    for name in "qkv":
        nodes += [
            node("MatMul", ["x", f"w{name}"], [f"m{name}"]),
            node("Add", [f"m{name}", f"b{name}"], [f"a{name}"]),
            node("Shape", ["x"], [f"s{name}"], start=0, end=1),
            node("Concat", [f"s{name}", "heads"], [f"t{name}"], axis=0),
            node("Reshape", [f"a{name}", f"t{name}"], [f"r{name}"]),
            node("Transpose", [f"r{name}"], [f"h{name}"], perm=[0, 2, 1, 3]),
        ]
    nodes += [
        node("Shape", ["hq"], ["shape"]),
        node("Slice", ["shape", "last", "end"], ["width"]),
        node("Cast", ["width"], ["real"], to=TensorProto.FLOAT),
        node("Sqrt", ["real"], ["root"]),
        node("Div", ["hq", "root"], ["scaled"]),
        node("Transpose", ["hk"], ["turned"], perm=[0, 1, 3, 2]),
        node("MatMul", ["scaled", "turned"], ["scores"]),
        node("Softmax", ["scores"], ["shares"]),
        node("MatMul", ["shares", "hv"], ["mixed"]),
        node("Transpose", ["mixed"], ["y"], perm=[0, 2, 1, 3]),
    ]
    weights: dict[str, Any] = {f"w{n}": weight(16, 16, seed=i) for i, n in enumerate("qkv")}
    weights |= {f"b{n}": weight(16, seed=5 + i) for i, n in enumerate("qkv")}
    weights |= {
        "heads": np.array([9, 4, 4]),
        "last": np.array([-1]),
        "end": np.array([np.iinfo(np.int64).max]),
    }
    return model_of(nodes, weights, ["n", 9, 16], {"y": ["n", 9, 4, 4]})


def test_attention_at_a_free_batch_ends_with_what_it_computes() -> None:
    found = cleaned(attention())
    assert [op for op in found if op in ("Shape", "Concat", "Slice", "Cast", "Sqrt")] == []
    assert len(found) <= 15, found


def test_inferred_shapes_stay_until_the_last_pass() -> None:
    """onnxslim takes shapes from the model where it cannot infer them itself."""
    found = simplify(attention())
    assert not found.model.graph.value_info
    assert found.steps[-1].name == "strip_metadata"
    sizes = [(step.bytes_before, step.bytes_after) for step in found.steps if step.kept]
    assert sizes[-1][1] == found.model.ByteSize()
