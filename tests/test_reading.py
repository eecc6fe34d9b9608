"""How outputs are read."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from sprat.errors import OptionError
from sprat.evaluate.reading import (
    MeanDivergence,
    Reading,
    answers,
    best_order,
    divergence,
    guess_reading,
    probabilities,
    same,
)
from sprat.model.session import Outputs


def ending_in(operator: str) -> onnx.ModelProto:
    """A model whose output is made by ``operator``, with a reshape behind it."""
    nodes = [
        helper.make_node(operator, ["x"], ["y"]),
        helper.make_node("Identity", ["y"], ["output"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, ["n", 3])],
        [value("output", TensorProto.FLOAT, ["n", 3])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


@pytest.mark.parametrize(
    ("operator", "shape", "classes", "kind"),
    [
        ("Relu", (4, 1), (), "logit"),
        ("Relu", (4,), (), "logit"),
        ("Sigmoid", (4, 1), (), "logit"),
        ("Softmax", (4, 5), (), "classes"),
        ("Sigmoid", (4, 5), (), "vector"),
        ("Sigmoid", (4, 5), ("a", "b"), "classes"),
        ("Relu", (4, 5), ("a", "b"), "classes"),
        ("Softmax", (4, 7, 5), (), "sequence"),
        ("Relu", (4, 5), (), "vector"),
        ("Relu", (4, 2, 5, 5), ("a", "b"), "vector"),
    ],
)
def test_guesses_from_shape_operator_and_labels(
    operator: str, shape: tuple[int, ...], classes: tuple[str, ...], kind: str
) -> None:
    outputs: Outputs = {"output": np.zeros(shape, np.float32)}
    reading, notes = guess_reading(ending_in(operator), outputs, classes=classes)
    assert reading.kind == kind
    # Several columns behind a Sigmoid are no distribution.
    alone = operator == "Sigmoid" and kind == "logit"
    assert reading.probability == (operator == "Softmax" or alone)
    assert notes
    assert kind in notes[0]


def test_sigmoid_in_the_model_moves_the_threshold() -> None:
    outputs: Outputs = {"output": np.array([[0.4], [0.6]], np.float32)}
    reading, _ = guess_reading(ending_in("Sigmoid"), outputs)
    assert reading.threshold == 0.5
    assert answers(outputs, reading).values.tolist() == [0, 1]


def test_a_softmax_written_out_is_seen_by_its_sums() -> None:
    values = np.array([[0.2, 0.8], [0.7, 0.3]], np.float32)
    reading, _ = guess_reading(ending_in("Relu"), {"output": values})
    assert reading.kind == "classes"
    assert reading.probability


def test_unknown_output_and_wrong_kind_are_named() -> None:
    outputs: Outputs = {"output": np.zeros((4, 1), np.float32)}
    with pytest.raises(OptionError, match="nothing"):
        guess_reading(ending_in("Relu"), outputs, name="nothing")
    with pytest.raises(OptionError, match="sequence needs"):
        guess_reading(ending_in("Relu"), outputs, kind="sequence")
    with pytest.raises(OptionError, match="--output: output 'output' is no tensor with an axis"):
        guess_reading(ending_in("Relu"), {"output": np.zeros((), np.float32)})


_LOGITS = st.lists(st.floats(-30, 30), min_size=1, max_size=20)


@given(_LOGITS)
def test_a_logit_is_the_two_class_softmax(values: list[float]) -> None:
    logit = np.array(values).reshape(-1, 1)
    two = np.concatenate([np.zeros_like(logit), logit], axis=1)
    one = probabilities(logit, Reading("y", "logit"))
    assert np.allclose(one, probabilities(two, Reading("y", "classes")))


@given(_LOGITS, st.floats(-3, 3))
def test_divergence_is_zero_only_for_the_same(values: list[float], shift: float) -> None:
    logit = np.array(values).reshape(-1, 1)
    reading = Reading("y", "logit")
    assert np.allclose(divergence(logit, logit, reading), 0)
    assert (divergence(logit, logit + shift, reading) >= -1e-12).all()


def test_a_sequence_is_the_same_when_a_symbol_lasts_longer() -> None:
    reading = Reading("y", "sequence", probability=True)
    eye = np.eye(4)
    first = answers({"y": eye[[[0, 1, 1, 2]]]}, reading)
    longer = answers({"y": eye[[[0, 1, 2, 2]]]}, reading)
    other = answers({"y": eye[[[0, 1, 3, 2]]]}, reading)
    assert same(first, longer, reading).tolist() == [1.0]
    assert same(first, other, reading).tolist() == [0.0]


def test_the_blank_of_ctc_is_dropped() -> None:
    eye = np.eye(5, dtype=np.float32)
    outputs: Outputs = {"output": eye[[[0, 1, 0, 0, 2, 0], [0, 0, 1, 1, 0, 2]]]}
    reading, notes = guess_reading(ending_in("Softmax"), outputs)
    assert reading.blank == 0
    assert any("CTC" in n for n in notes)
    found = answers(outputs, reading).values
    assert found[:, :2].tolist() == [[1, 2], [1, 2]]
    assert (found[:, 2:] == -1).all()


def test_vectors_agree_by_concordance() -> None:
    """Lin 1989: 1 for the same values, 0 for a constant answer, less for a factor or a shift."""
    reading = Reading("y", "vector")
    values = np.random.default_rng(0).standard_normal((50, 6)) + 7

    def score(model: NDArray[np.float64]) -> float:
        a, b = answers({"y": values}, reading), answers({"y": model}, reading)
        return float(same(a, b, reading).mean())

    mean = values.mean(axis=0)
    assert score(values) == 1
    assert abs(score(np.broadcast_to(mean, values.shape))) < 1e-12
    assert np.isclose(score(mean + 0.5 * (values - mean)), 2 * 0.5 / (1 + 0.25))
    assert score(values + 1) < 0.75
    assert np.isclose(score(2 * mean - values), -1)


def test_integers_are_equal_or_not() -> None:
    outputs: Outputs = {"output": np.array([[0, 0, 1, 2], [0, 0, 0, 0]])}
    reading, notes = guess_reading(ending_in("Relu"), outputs)
    assert (reading.kind, reading.common) == ("integers", 0)
    assert "is read as integers" in notes[0]
    found = answers({"output": np.array([[0, 0, 1, 1], [0, 0, 0, 0]])}, reading)
    # One of the two positions that are not background is wrong.
    assert same(answers(outputs, reading), found, reading).mean() == 0.5
    with pytest.raises(OptionError, match="integers needs whole numbers"):
        guess_reading(ending_in("Relu"), {"output": np.array([[0.5]])}, kind="integers")


def test_divergence_of_a_mask_counts_what_agreement_counts() -> None:
    """Where 99 of 100 positions are background, a mask of background alone has lost all."""
    reading = Reading("y", "integers", common=0)
    mask = np.zeros((10, 100), np.int64)
    mask[:9, 7] = 3
    empty = np.zeros_like(mask)
    assert np.isclose(divergence(mask, empty, reading).mean(), 1)
    wanted: list[Outputs] = [{"y": row[None]} for row in mask]
    got: list[Outputs] = [{"y": row[None]} for row in empty]
    assert np.isclose(MeanDivergence(reading)(wanted, got), 1)
    assert divergence(mask, mask, reading).max() == 0
    one = np.array([0, 0, 0, 1])
    assert divergence(one, np.zeros(4, np.int64), reading).mean() == 0.25


def test_no_number_agrees_with_nothing() -> None:
    for kind, values in (("logit", [[1.0], [np.nan]]), ("vector", [[1.0, 2.0], [np.nan, 3.0]])):
        reading = Reading("y", kind)  # type: ignore[arg-type]
        found = answers({"y": np.array(values)}, reading)
        assert found.valid.tolist() == [True, False]
        assert same(found, found, reading).tolist() == [1.0, 0.0]


def test_best_order_finds_swapped_classes() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2])
    order, accuracy = best_order((labels + 1) % 3, labels, 3)
    assert order == (2, 0, 1)
    assert accuracy == 1.0
