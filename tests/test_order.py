"""Nodes that come in any order are put in the one that the specification asks for."""

from __future__ import annotations

import random

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from sprat.model.order import sort_nodes
from tests.models import cnn_with_batch_norm, depthwise_cnn, mlp

MODELS = (cnn_with_batch_norm(), depthwise_cnn(), mlp())


@given(st.sampled_from(MODELS), st.randoms(use_true_random=False))
def test_any_shuffle_becomes_a_valid_model_again(
    original: onnx.ModelProto, chance: random.Random
) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(original)
    nodes = list(model.graph.node)
    chance.shuffle(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    sort_nodes(model)
    onnx.checker.check_model(model, full_check=True)
    assert sorted(n.name for n in model.graph.node) == sorted(n.name for n in nodes)


def test_an_ordered_graph_is_not_touched() -> None:
    model = cnn_with_batch_norm()
    before = model.SerializeToString(deterministic=True)
    sort_nodes(model)
    assert model.SerializeToString(deterministic=True) == before


def test_what_a_body_reads_counts_as_need() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    inner = helper.make_tensor_value_info("inner", TensorProto.FLOAT, [1])
    body = helper.make_graph([helper.make_node("Neg", ["late"], ["inner"])], "body", [], [inner])
    test = helper.make_tensor("test", TensorProto.BOOL, [], [True])
    nodes = [
        helper.make_node("If", ["test"], ["y"], then_branch=body, else_branch=body),
        helper.make_node("Abs", ["x"], ["late"]),
    ]
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y], [test]))
    sort_nodes(model)
    assert [n.op_type for n in model.graph.node] == ["Abs", "If"]


def test_a_cycle_is_left_for_the_checker() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    nodes = [
        helper.make_node("Add", ["x", "b"], ["a"]),
        helper.make_node("Neg", ["a"], ["b"]),
        helper.make_node("Neg", ["b"], ["y"]),
    ]
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y]))
    sort_nodes(model)
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model(model)
