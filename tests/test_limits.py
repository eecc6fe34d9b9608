"""A small model that asks for hours or for all memory is refused, and the limits can be raised."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from sprat.cli.app import app
from sprat.errors import CostlyModelError, OptionError
from sprat.graph.simplify import simplify
from sprat.limits import MEMORY, NODES, SECONDS, Limit, limited
from sprat.model.load import load
from sprat.model.session import open_session


def model_of(
    nodes: list[onnx.NodeProto],
    weights: list[onnx.TensorProto] | None = None,
    functions: list[onnx.FunctionProto] | None = None,
) -> onnx.ModelProto:
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in ("x", "y")
    ]
    graph = helper.make_graph(nodes, "bomb", values[:1], values[1:], weights or [])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, ir_version=8, opset_imports=opsets, functions=functions or [])


def constants(kind: str, count: int, side: int) -> onnx.ModelProto:
    """Nodes that a runtime folds, each of ``side`` x ``side`` numbers."""
    value = numpy_helper.from_array(np.array([1e-3], np.float32))
    nodes = [helper.make_node("ConstantOfShape", ["shape"], ["c0"], value=value)]
    nodes += [helper.make_node(kind, [f"c{i}", "c0"], [f"c{i + 1}"]) for i in range(count)]
    nodes += [
        helper.make_node("ReduceMax", [f"c{count}"], ["m"], keepdims=0),
        helper.make_node("Add", ["x", "m"], ["y"]),
    ]
    shape = numpy_helper.from_array(np.array([side, side], np.int64), "shape")
    return model_of(nodes, [shape])


def chain(count: int) -> onnx.ModelProto:
    names = ["x", *(f"v{i}" for i in range(count - 1)), "y"]
    return model_of([helper.make_node("Relu", [names[i]], [names[i + 1]]) for i in range(count)])


def doubling(depth: int) -> onnx.ModelProto:
    """Functions that each call the one before twice: 2^depth nodes."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    names = ["Relu", *(f"f{i}" for i in range(depth))]
    functions = []
    for before, name in pairwise(names):
        domain = "" if before == "Relu" else "own"
        body = [
            helper.make_node(before, ["a"], ["t"], domain=domain),
            helper.make_node(before, ["t"], ["b"], domain=domain),
        ]
        functions.append(helper.make_function("own", name, ["a"], ["b"], body, opsets))
    call = helper.make_node(names[-1], ["x"], ["y"], domain="own")
    return model_of([call], functions=functions)


BOMBS = {
    "constants of 13 GB": (constants("Add", 200, 4096), MEMORY),
    "constants of 14 T multiply-adds": (constants("MatMul", 200, 1700), SECONDS),
    "many nodes": (chain(200_000), NODES),
    "many nodes by functions": (doubling(18), NODES),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_with_the_option_that_lets_it_in(name: str, tmp_path: Path) -> None:
    model, limit = BOMBS[name]
    path = tmp_path / "bomb.onnx"
    onnx.save(model, path)
    with pytest.raises(CostlyModelError, match=limit.flag) as caught:
        load(path)
    assert caught.value.exit_code == 2
    assert caught.value.where == str(path)


@pytest.mark.parametrize(
    ("limit", "model"),
    [(NODES, chain(20)), (MEMORY, constants("Add", 20, 64)), (SECONDS, constants("MatMul", 9, 64))],
)
def test_a_limit_is_what_is_set(
    limit: Limit, model: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    load(path)
    monkeypatch.setenv(limit.variable, "10" if limit is NODES else "1e-6")
    with pytest.raises(CostlyModelError, match=limit.variable):
        load(path)


@pytest.mark.parametrize("text", ["many", "0", "-1", "nan"])
def test_a_limit_that_is_no_number(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECONDS.variable, text)
    with pytest.raises(OptionError, match=f"{SECONDS.variable}: must be a number above 0"):
        SECONDS.of(0)


def test_opening_a_session_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECONDS.variable, "0.2")
    with pytest.raises(CostlyModelError, match=r"opening the model takes more than 0.2 s"):
        open_session(doubling(16))


def test_cleaning_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECONDS.variable, "1e-9")
    with pytest.raises(CostlyModelError, match="takes more than 1e-09 s"):
        simplify(chain(20))


def test_the_option_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NODES.variable, "1000")  # so that it is put back
    path = tmp_path / "model.onnx"
    onnx.save(chain(20), path)
    words = ["simplify", str(path), "-o", str(tmp_path / "out.onnx")]
    done = CliRunner().invoke(app, [*words, "--max-nodes", "10"])
    assert isinstance(done.exception, CostlyModelError)
    assert CliRunner().invoke(app, [*words, "--max-nodes", "100"]).exit_code == 0


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the parent process hears of each step that begins."""
    heard: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "sprat.limits.tell", lambda kind, **said: heard.append(said) if kind == "begin" else None
    )
    monkeypatch.setattr("sprat.limits._KEPT", set())
    return heard


def test_memory_of_other_threads_is_not_charged_to_a_model_that_kept_its_limit(
    told: list[dict[str, Any]],
) -> None:
    """A search opens variants while others compute: what they take says nothing of the model."""
    with pytest.raises(ZeroDivisionError), limited("opening the model", "m", 0):
        raise ZeroDivisionError
    for _ in range(2):
        with limited("opening the model", "m", 0):
            pass
    with limited("opening the model", "another", 0):
        pass
    bounded = [said["memory"] == MEMORY.of(0) for said in told]
    assert bounded == [True, True, False, True]


def test_external_data_counts_for_the_limits(tmp_path: Path, told: list[dict[str, Any]]) -> None:
    model = chain(1)
    weight = numpy_helper.from_array(np.zeros((500, 1000), np.float32), "w")
    model.graph.initializer.append(weight)
    model.graph.node.append(helper.make_node("Identity", ["w"], ["unused"]))
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    load(path)
    most = max(said["memory"] for said in told if said["stage"] == "loading the model")
    assert most >= MEMORY.of(2_000_000)
