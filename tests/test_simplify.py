"""Each pass by name, on a model made for it; and what is undone."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from sprat.errors import OptionError
from sprat.graph import passes as rooms
from sprat.graph.passes import PASSES, Pass
from sprat.graph.simplify import simplify
from sprat.model.session import open_session
from tests.networks import build, cnn, feeds

node = helper.make_node
IMAGE: dict[str, list[Any]] = {"x": ["n", 4, 6, 6]}


def kinds(model: onnx.ModelProto) -> list[str]:
    return [n.op_type for n in model.graph.node]


def chain(nodes: list[onnx.NodeProto], weights: dict[str, Any], shape: list[Any]) -> Any:
    return build(nodes, weights, IMAGE, {"y": shape})


WEIGHT = np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32)
SAME = ["n", 4, 6, 6]
CASES = {
    "lift_constants": (
        chain(
            [
                node("Constant", [], ["c"], value_float=2.0),
                node("Mul", ["x", "c"], ["y"]),
            ],
            {},
            SAME,
        ),
        ["Mul"],
    ),
    "eliminate_deadend": (
        chain([node("Sqrt", ["x"], ["nobody"]), node("Relu", ["x"], ["y"])], {}, SAME),
        ["Relu"],
    ),
    "eliminate_identity": (
        chain([node("Identity", ["x"], ["a"]), node("Relu", ["a"], ["y"])], {}, SAME),
        ["Relu"],
    ),
    "eliminate_nop_dropout": (
        chain([node("Dropout", ["x"], ["a"]), node("Relu", ["a"], ["y"])], {}, SAME),
        ["Relu"],
    ),
    "eliminate_nop_pad": (
        chain(
            [node("Pad", ["x", "p"], ["a"]), node("Relu", ["a"], ["y"])],
            {"p": np.zeros(8, np.int64)},
            SAME,
        ),
        ["Relu"],
    ),
    "eliminate_nop_transpose": (
        chain(
            [node("Transpose", ["x"], ["a"], perm=[0, 1, 2, 3]), node("Relu", ["a"], ["y"])],
            {},
            SAME,
        ),
        ["Relu"],
    ),
    "eliminate_nop_cast": (
        chain([node("Cast", ["x"], ["a"], to=1), node("Relu", ["a"], ["y"])], {}, SAME),
        ["Relu"],
    ),
    "fold_constants": (
        chain(
            [node("Exp", ["w"], ["e"]), node("Mul", ["x", "e"], ["y"])],
            {"w": np.ones((4, 1, 1), np.float32)},
            SAME,
        ),
        ["Mul"],
    ),
    "fuse_consecutive_transposes": (
        chain(
            [
                node("Transpose", ["x"], ["a"], perm=[0, 2, 3, 1]),
                node("Transpose", ["a"], ["b"], perm=[0, 2, 1, 3]),
                node("Relu", ["b"], ["y"]),
            ],
            {},
            ["n", 6, 6, 4],
        ),
        ["Transpose", "Relu"],
    ),
    "fuse_consecutive_squeezes": (
        chain(
            [
                node("ReduceMean", ["x"], ["a"], axes=[2, 3]),
                node("Squeeze", ["a", "last"], ["b"]),
                node("Squeeze", ["b", "two"], ["c"]),
                node("Relu", ["c"], ["y"]),
            ],
            {"last": np.array([3], np.int64), "two": np.array([2], np.int64)},
            ["n", 4],
        ),
        ["ReduceMean", "Squeeze", "Relu"],
    ),
    "fuse_transpose_into_gemm": (
        chain(
            [
                node("GlobalAveragePool", ["x"], ["a"]),
                node("Flatten", ["a"], ["f"]),
                node("Transpose", ["w"], ["t"], perm=[1, 0]),
                node("Gemm", ["f", "t", "b"], ["y"], transB=1),
            ],
            {"w": WEIGHT, "b": np.zeros(5, np.float32)},
            ["n", 5],
        ),
        ["GlobalAveragePool", "Flatten", "Gemm"],
    ),
    "fuse_pad_into_conv": (
        chain(
            [
                node("Pad", ["x", "p"], ["a"]),
                node("Conv", ["a", "k"], ["y"]),
            ],
            {
                "p": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
                "k": np.ones((4, 4, 3, 3), np.float32),
            },
            SAME,
        ),
        ["Conv"],
    ),
    "eliminate_common_subexpression": (
        chain(
            [
                node("Relu", ["x"], ["a"]),
                node("Relu", ["x"], ["b"]),
                node("Add", ["a", "b"], ["y"]),
            ],
            {},
            SAME,
        ),
        ["Relu", "Add"],
    ),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_each_pass_does_its_own_work(name: str) -> None:
    model, wanted = CASES[name]
    before = model.SerializeToString()
    found = simplify(model, only=[name])
    assert kinds(found.model) == wanted
    assert [s.name for s in found.steps if s.kept] == [name]
    assert model.SerializeToString() == before


def test_batch_normalization_is_folded() -> None:
    model = cnn()
    found = simplify(model, only=["fuse_bn_into_conv"])
    assert "BatchNormalization" not in kinds(found.model)
    x = feeds(model, 3)
    wanted = open_session(model).run(None, x)[0]
    assert np.allclose(open_session(found.model).run(None, x)[0], wanted, atol=1e-5)


def test_unused_and_equal_initializers_go() -> None:
    twice = np.arange(4096, dtype=np.float32).reshape(1, 4096)
    model = build(
        [
            node("Add", ["x", "a"], ["s"]),
            node("Mul", ["s", "b"], ["y"]),
        ],
        {"a": twice, "b": twice, "nobody": twice + 1},
        {"x": ["n", 4096]},
        {"y": ["n", 4096]},
    )
    only = ["eliminate_unused_initializer", "deduplicate_initializers"]
    found = simplify(model, only=only)
    assert len(found.model.graph.initializer) == 1
    assert [s.name for s in found.steps if s.kept] == only


def test_the_opset_is_raised_and_names_stay() -> None:
    found = simplify(cnn(opset=12))
    assert found.model.opset_import[0].version >= 17
    assert [v.name for v in found.model.graph.input] == ["x"]
    assert [v.name for v in found.model.graph.output] == ["y"]


def test_cleaning_twice_changes_nothing_more() -> None:
    once = simplify(cnn(opset=12)).model
    again = simplify(once)
    assert kinds(again.model) == kinds(once)
    assert again.model.ByteSize() >= once.ByteSize() - 256


def test_the_same_input_gives_the_same_bytes() -> None:
    first, second = (simplify(cnn(opset=12)).model for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(
        deterministic=True
    )


def test_unknown_pass() -> None:
    with pytest.raises(OptionError, match="no pass 'polish'"):
        simplify(cnn(), only=["polish"])


def wrong(model: onnx.ModelProto) -> onnx.ModelProto:
    out = onnx.ModelProto()
    out.CopyFrom(model)
    del out.graph.node[1]  # without BatchNormalization
    out.graph.node[1].input[0] = "c1"
    return out


def grown(model: onnx.ModelProto) -> onnx.ModelProto:
    out = onnx.ModelProto()
    out.CopyFrom(model)
    out.graph.node.append(node("Relu", ["y"], ["more"]))
    return out


def broken(model: onnx.ModelProto) -> onnx.ModelProto:
    raise RuntimeError("inner trouble")


@pytest.mark.parametrize(
    ("bad", "words"),
    [(wrong, "outputs differ"), (grown, "adds 1 nodes"), (broken, "inner trouble")],
)
def test_a_pass_that_does_harm_is_undone(
    monkeypatch: pytest.MonkeyPatch, bad: Any, words: str
) -> None:
    monkeypatch.setitem(rooms.PASSES, "bad", Pass("bad", "does harm", "nobody", bad))
    model = cnn()
    found = simplify(model, only=["bad"])
    assert kinds(found.model) == kinds(model)
    assert not found.steps[0].kept
    assert words in found.steps[0].reason


def test_every_pass_says_what_it_does() -> None:
    for name, one in PASSES.items():
        assert one.name == name
        assert len(one.description) > 10
