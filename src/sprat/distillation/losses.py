"""What the student's answers cost: the teacher's answers are the soft part, labels the hard one.

Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network" (arXiv 1503.02531):
both networks' scores are divided by a temperature T before the softmax, and the soft part is
multiplied by T², since its gradients shrink by 1 / T². The divergence stands here where the paper
has the cross entropy: the gradient is the same, and the loss is 0 where the student is the teacher.

A softmax over **one** column is always 1, whatever the column: for a single logit the usual formula
is constant and teaches nothing. :func:`soft_logit` is its two-class form, by
softmax([0, z] / T) = [1 - σ(z / T), σ(z / T)].

Every function gives one value a sample, float32 ``[N]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor, where
from torch.nn import functional

from sprat.evaluate.types import OutputKind

#: The label of a sample that has none.
UNLABELLED = -1


def soft_logit(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T² KL(σ(t / T) || σ(s / T)), the divergence of two coins.

    Args:
        student: ``[N]`` logits.
        teacher: ``[N]`` logits.
        temperature: T.
    """
    s, t = student / temperature, teacher / temperature
    wanted = t.sigmoid()
    cross = functional.binary_cross_entropy_with_logits(s, wanted, reduction="none")
    entropy = functional.binary_cross_entropy_with_logits(t, wanted, reduction="none")
    found: Tensor = temperature**2 * (cross - entropy)
    return found


def soft_classes(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T² KL(softmax(t / T) || softmax(s / T)), averaged over positions.

    Args:
        student: ``[N, C]`` scores, or ``[N, P, C]`` at P positions. C is at least 2.
        teacher: The same of the teacher; scores up to a constant, so logarithms of probabilities
            do as well.
        temperature: T.
    """
    s = functional.log_softmax(student / temperature, -1)
    t = functional.log_softmax(teacher / temperature, -1)
    terms = functional.kl_div(s, t, reduction="none", log_target=True).sum(-1)
    found: Tensor = temperature**2 * terms.reshape(len(terms), -1).mean(1)
    return found


def soft_vector(student: Tensor, teacher: Tensor, how: Literal["cosine", "mse"]) -> Tensor:
    """Return how far two embeddings are apart.

    Args:
        student: ``[N, D]`` values.
        teacher: ``[N, D]`` values.
        how: ``cosine``: 1 - cos of the angle, which does not see length. ``mse``: mean of the
            squared differences.
    """
    if how == "mse":
        return (student - teacher).square().mean(1)
    angle: Tensor = functional.cosine_similarity(student, teacher, dim=1)
    return 1 - angle


class Parts(NamedTuple):
    """Means over a batch: the loss, its soft part and its hard part, each a scalar."""

    total: Tensor
    soft: Tensor
    hard: Tensor


@dataclass(frozen=True)
class Loss:
    """The loss of a batch.

    Attributes:
        kind: How the answers are read.
        alpha: Share of the soft part where a sample has a label; without one it is all.
        temperature: Of the soft part.
        vector: How embeddings are compared.
    """

    kind: OutputKind
    alpha: float
    temperature: float
    vector: Literal["cosine", "mse"] = "cosine"

    def __call__(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Parts:
        """Compare the student's answers with the teacher's and the labels.

        Args:
            student: ``[N]`` for ``logit``, ``[N, C]`` for ``classes`` and ``vector``, ``[N, P, C]``
                for ``sequence``; as :class:`~sprat.distillation.contract.Terms` gives them.
            teacher: The same of the teacher.
            labels: ``[N]`` int64, columns of the classes; :data:`UNLABELLED` where there is none.
        """
        soft = self._soft(student, teacher)
        known = labels != UNLABELLED
        hard = where(known, self._hard(student, labels.clamp(min=0)), 0.0)
        total = where(known, self.alpha * soft + (1 - self.alpha) * hard, soft)
        return Parts(total.mean(), soft.mean(), hard.sum() / known.sum().clamp(min=1))

    def _soft(self, student: Tensor, teacher: Tensor) -> Tensor:
        if self.kind == "vector":
            return soft_vector(student, teacher, self.vector)
        form = soft_logit if self.kind == "logit" else soft_classes
        return form(student, teacher, self.temperature)

    def _hard(self, student: Tensor, labels: Tensor) -> Tensor:
        if self.kind == "logit":
            found: Tensor = functional.binary_cross_entropy_with_logits(
                student, labels.to(student.dtype), reduction="none"
            )
            return found
        if self.kind == "classes":
            found = functional.cross_entropy(student, labels, reduction="none")
            return found
        return student.new_zeros(len(student))
