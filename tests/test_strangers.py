"""What a stranger's model and options may cost: one clear error each, before any work."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from sprat.data.options import DataOptions
from sprat.data.sources import open_data
from sprat.errors import OptionError, UnsupportedModelError
from sprat.model.inspect import TensorInfo
from sprat.model.load import load, save
from sprat.workflow.compare import compare
from sprat.workflow.optimize import optimize
from tests.networks import mlp

EIGHT = [TensorInfo("x", "float32", ("n", 3, 8, 8))]


def folder_of(place: Path, classes: list[str]) -> Path:
    """A folder of four images a class."""
    random = np.random.default_rng(0)
    for name in classes:
        (place / name).mkdir(parents=True)
        for i in range(4):
            image = Image.fromarray(random.integers(0, 255, (8, 8, 3), dtype=np.uint8))
            image.save(place / name / f"{i}.png")
    return place


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((16384, 16384), "16384 x 16384 are 268,435,456 pixels; at most 64,000,000"),
        ((8000, 8000), "images would become 8000 x 8000, and 8 x 8 of that would be kept"),
        ((8, 16384), "images would become 8 x 16384, and 8 x 8 of that would be kept"),
    ],
)
def test_a_size_that_is_thrown_away_is_refused(
    size: tuple[int, int], words: str, tmp_path: Path
) -> None:
    data = folder_of(tmp_path / "data", ["a", "b"])
    with pytest.raises(OptionError, match=words) as caught:
        open_data(data, EIGHT, options=DataOptions(size=size))
    assert caught.value.where == "--size"
    usual = open_data(data, EIGHT, options=DataOptions(size=(10, 10), crop=(8, 8)))
    assert usual.val.batch([0])["x"].shape == (1, 3, 8, 8)


def nested(depth: int) -> onnx.ModelProto:
    """An If inside an If, and so on."""
    value = helper.make_tensor_value_info
    node = helper.make_node("Identity", ["x"], ["y0"])
    for i in range(1, depth + 1):
        inner = f"y{i - 1}"
        then = helper.make_graph([node], f"t{i}", [], [value(inner, TensorProto.FLOAT, None)])
        other = helper.make_graph(
            [helper.make_node("Neg", ["x"], [f"e{i}"])],
            f"e{i}",
            [],
            [value(f"e{i}", TensorProto.FLOAT, None)],
        )
        node = helper.make_node("If", ["c"], [f"y{i}"], then_branch=then, else_branch=other)
    sums = helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0)
    cast = helper.make_node("Cast", ["s"], ["c"], to=TensorProto.BOOL)
    graph = helper.make_graph(
        [sums, cast, node],
        "nested",
        [value("x", TensorProto.FLOAT, ["n", 4])],
        [value(f"y{depth}", TensorProto.FLOAT, ["n", 4])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def deeper(model: onnx.ModelProto) -> bytes:
    """The bytes of a model beyond what protobuf parses: its graph inside more graphs."""
    from google.protobuf.internal.encoder import _VarintBytes  # type: ignore[attr-defined]

    def framed(field: int, content: bytes) -> bytes:
        return bytes([field << 3 | 2]) + bytes(_VarintBytes(len(content))) + content

    content = model.graph.SerializeToString()
    for _ in range(10):
        content = framed(1, framed(5, framed(6, content)))  # graph.node.attribute.g
    return framed(7, content)


def test_graphs_inside_each_other_are_bounded(tmp_path: Path) -> None:
    assert len(load(save(nested(16), tmp_path / "model.onnx")).graph.node) == 3
    for content in (nested(17), nested(31)):
        with pytest.raises(UnsupportedModelError, match="nests If, Loop or Scan too deeply"):
            load(save(content, tmp_path / "model.onnx"))
    (tmp_path / "model.onnx").write_bytes(deeper(nested(30)))
    with pytest.raises(UnsupportedModelError, match="at most 16 inside each other"):
        load(tmp_path / "model.onnx")


UNTEXT = os.fsdecode(b"\xff")


@pytest.mark.parametrize("part", ["model", "data", "out"])
def test_a_name_that_is_no_text_is_refused_before_any_work(part: str, tmp_path: Path) -> None:
    place = tmp_path / (UNTEXT if part == "model" else "model")
    model = save(mlp(), place / "model.onnx")
    data = tmp_path / (f"{UNTEXT}.npz" if part == "data" else "data.npz")
    np.savez(data, allow_pickle=False, x=np.ones((20, 32), np.float32))
    out = tmp_path / (UNTEXT if part == "out" else "out")

    def no_work(stage: str, done: float, total: float) -> None:
        pytest.fail("work began")

    with pytest.raises(OptionError, match="is no UTF-8") as caught:
        optimize(model, data, out, progress=no_work)
    assert "Rename it" in caught.value.hint
    assert not (out / "run.json").exists()
    if part != "out":
        with pytest.raises(OptionError, match="is no UTF-8"):
            compare(model, model, data)


@pytest.mark.parametrize("classes", [["caf\u00e9", "cafe\u0301"], ["a\u200bb", "a\u200cb", "c"]])
def test_classes_that_look_alike_are_told(classes: list[str], tmp_path: Path) -> None:
    data = folder_of(tmp_path / "data", classes)
    notes = open_data(data, EIGHT, options=DataOptions()).notes
    assert [note for note in notes if "look alike" in note]
