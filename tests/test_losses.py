"""The losses: their gradients are those of the two-class form, by autograd."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from sprat.distillation.losses import UNLABELLED, Loss, soft_classes, soft_logit, soft_vector

logits = st.lists(st.floats(-20, 20), min_size=1, max_size=8)
temperatures = st.floats(0.5, 10)


def tensor(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def gradient(loss: Tensor, of: Tensor) -> Tensor:
    return torch.autograd.grad(loss.sum(), of)[0]


def by_two_classes(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Write Hinton's formula out over the columns [0, z], without any of our functions."""
    zero = torch.zeros_like(student)
    p = torch.softmax(torch.stack([zero, teacher], 1) / temperature, 1)
    q = torch.log_softmax(torch.stack([zero, student], 1) / temperature, 1)
    return temperature**2 * (p * (p.log() - q)).sum(1)


@given(logits, logits, temperatures)
def test_one_logit_has_value_and_gradient_of_the_two_class_form(
    s: list[float], t: list[float], temperature: float
) -> None:
    count = min(len(s), len(t))
    teacher, student = tensor(t[:count]), tensor(s[:count]).requires_grad_()
    ours = soft_logit(student, teacher, temperature)
    theirs = by_two_classes(student, teacher, temperature)
    torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-7)
    torch.testing.assert_close(gradient(ours, student), gradient(theirs, student))
    by_hand = temperature * ((student / temperature).sigmoid() - (teacher / temperature).sigmoid())
    torch.testing.assert_close(
        gradient(soft_logit(student, teacher, temperature), student), by_hand
    )


@given(logits, temperatures)
def test_a_softmax_over_one_column_teaches_nothing(s: list[float], temperature: float) -> None:
    student = tensor(s)[:, None].requires_grad_()
    teacher = torch.full_like(student, 3.0)
    usual = soft_classes(student, teacher, temperature)
    assert float(usual.detach().abs().max()) == 0
    assert float(gradient(usual, student).abs().max()) == 0
    ours = soft_logit(student[:, 0], teacher[:, 0], temperature)
    assert (gradient(ours, student) != 0).sum() == sum(abs(x - 3) > 1e-12 for x in s)


@given(st.lists(st.tuples(*[st.floats(-20, 20)] * 6), min_size=1, max_size=5), temperatures)
def test_classes_have_the_gradient_of_the_cross_entropy_at_that_temperature(
    rows: list[tuple[float, ...]], temperature: float
) -> None:
    both = torch.tensor([list(row) for row in rows], dtype=torch.float64)
    student, teacher = both[:, :3].clone().requires_grad_(), both[:, 3:]
    wanted = functional.cross_entropy(
        student / temperature, torch.softmax(teacher / temperature, 1), reduction="sum"
    )
    ours = gradient(soft_classes(student, teacher, temperature), student)
    torch.testing.assert_close(ours, temperature**2 * gradient(wanted, student))


def test_two_classes_and_one_logit_agree() -> None:
    z, t = tensor([-3.0, 0.5, 4.0]), tensor([2.0, 0.5, -1.0])
    mine, theirs = (torch.stack([-x / 2, x / 2], 1) for x in (z, t))
    torch.testing.assert_close(soft_classes(mine, theirs, 3.0), soft_logit(z, t, 3.0))


def test_gradients_keep_their_size_when_the_temperature_grows() -> None:
    teacher = tensor([1.0])
    sizes = []
    for temperature in (20.0, 80.0):
        student = tensor([0.0]).requires_grad_()
        sizes.append(float(gradient(soft_logit(student, teacher, temperature), student)))
    assert sizes[1] == pytest.approx(sizes[0], rel=0.01)
    assert sizes[1] == pytest.approx(-1 / 4, rel=0.01)  # (s - t) / 4, as for squared logits


@given(logits, temperatures)
def test_nothing_is_lost_where_the_student_is_the_teacher(s: list[float], heat: float) -> None:
    z = tensor(s)
    assert float(soft_logit(z, z, heat).abs().max()) < 1e-9
    columns = torch.stack([z, -z, z / 2], 1)
    assert float(soft_classes(columns, columns, heat).abs().max()) < 1e-9
    if float(z.abs().max()) > 1e-3:
        assert float(soft_vector(columns, columns, "mse").abs().max()) == 0
        nonzero = columns[columns.abs().sum(1) > 1e-3]
        assert float(soft_vector(nonzero, 2 * nonzero, "cosine").abs().max()) < 1e-6


def test_positions_of_a_sequence_count_alike() -> None:
    student, teacher = torch.randn(2, 5, 4), torch.randn(2, 5, 4)
    each = [soft_classes(student[:, i], teacher[:, i], 2.0) for i in range(5)]
    torch.testing.assert_close(soft_classes(student, teacher, 2.0), torch.stack(each).mean(0))


def test_parts_are_weighted_and_an_unlabelled_sample_has_the_soft_part_alone() -> None:
    student, teacher = tensor([0.3, -2.0]), tensor([1.0, 4.0])
    labels = torch.tensor([1, UNLABELLED])
    soft = soft_logit(student, teacher, 4.0)
    hard = math.log1p(math.exp(-0.3))
    parts = Loss("logit", 0.7, 4.0)(student, teacher, labels)
    wanted = (0.7 * float(soft[0]) + 0.3 * hard + float(soft[1])) / 2
    assert float(parts.total) == pytest.approx(wanted)
    assert float(parts.soft) == pytest.approx(float(soft.mean()))
    assert float(parts.hard) == pytest.approx(hard)


def test_without_any_label_the_loss_is_the_soft_part() -> None:
    student, teacher = torch.randn(4, 3), torch.randn(4, 3)
    labels = torch.full((4,), UNLABELLED)
    parts = Loss("classes", 0.1, 2.0)(student, teacher, labels)
    assert float(parts.total) == pytest.approx(float(soft_classes(student, teacher, 2.0).mean()))
    assert float(parts.hard) == 0


def test_hard_labels_alone() -> None:
    student, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 1])
    parts = Loss("classes", 0.0, 2.0)(student, torch.randn(4, 3), labels)
    assert float(parts.total) == pytest.approx(float(functional.cross_entropy(student, labels)))
