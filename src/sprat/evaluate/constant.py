"""What a model that always gives the same answer would score: what a measure can tell at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sprat.errors import DataError
from sprat.evaluate.evaluate import Reference
from sprat.evaluate.reading import Answers, Array, Reading, agreement, agreement_counts, answers

#: A budget of so many points is none: a constant answer on two classes loses no more.
NO_BUDGET = 50.0
#: Values of integers of which the commonest is looked for at each position.
_MOST_VALUES = 256


@dataclass(frozen=True)
class ConstantAnswer:
    """The best answer that does not depend on the input, held against the original.

    Attributes:
        drop: Points that it loses, of several outputs on the one where it loses most.
        answer: It in words; empty where it is no class.
        samples: How many it was measured on.
    """

    drop: float
    answer: str
    samples: int

    def hides_in(self, max_drop: float) -> bool:
        """Say whether a budget would be held by a model that is dead."""
        return self.drop <= max_drop < NO_BUDGET

    def __str__(self) -> str:
        who = f"always answers {self.answer!r}" if self.answer else "ignores its input"
        return f"a model that {who} loses {max(self.drop, 0.0):.2f} points on these {self.samples}"


def constant_answer(reference: Reference) -> ConstantAnswer | None:
    """Find how much the best constant answer loses, by the measure that is used.

    Args:
        reference: The original's answers on some samples.

    Returns:
        The answer; None where a user's metric measures, of which nothing is known.
    """
    if reference.metric is not None:
        return None
    found = [_best(reference, reading) for reading in reference.reading.deciding]
    drop, answer = max(found, key=lambda pair: pair[0])
    return ConstantAnswer(drop, answer, len(reference.scores))


def check_budget(reference: Reference, max_drop: float) -> None:
    """Refuse a budget that a model would hold that ignores its input.

    Args:
        reference: The original's answers on the samples of the choice.
        max_drop: The budget in points; 50 and more are taken for none.

    Raises:
        DataError: It would: nothing measured here could tell a good model from a dead one.
    """
    constant = constant_answer(reference)
    if constant is not None and constant.hides_in(max_drop):
        raise DataError(
            f"{constant} samples of {reference.split}, within the budget of {max_drop:g}: nothing "
            "measured here could tell a good model from a dead one.",
            hint="Give samples of every class, or see that --data, the labels, --output-kind and "
            "the preprocessing are those of this model.",
        )


def _best(reference: Reference, reading: Reading) -> tuple[float, str]:
    """Return the points that the best constant answer of one output loses, and the answer."""
    labels = reference.labels
    if reading == reference.reading and reference.is_labelled and labels is not None:
        values, counts = np.unique(labels, return_counts=True)
        lost = reference.accuracy - counts.max() / counts.sum()
        return 100 * float(lost), _named(values[counts.argmax()], reference)
    given = answers(reference.outputs, reading)
    if agreement_counts(given, reading):
        values, counts = np.unique(given.values[given.valid], axis=0, return_counts=True)
        top = values[counts.argmax()]
        words = _named(top, reference) if np.ndim(top) == 0 else ""
        return 100 * float(given.valid.sum() - counts.max()) / len(given.valid), words
    # One sample without a number would make the mean none, and that agrees with nothing.
    known = given.values[given.valid]
    tries = [known.mean(axis=0)] if reading.kind == "vector" else _modes(known)
    before = float(given.valid.mean())
    scores = [_score(given, values, reading) for values in tries]
    return 100 * (before - max(scores)), ""


def _score(given: Answers, constant: Array, reading: Reading) -> float:
    repeated = np.broadcast_to(constant, given.values.shape)
    return float(
        agreement(given, Answers(repeated, given.confidence, given.valid), reading)[0].mean()
    )


def _modes(values: Array) -> list[Array]:
    """Return constant maps of integers: the commonest value throughout, and that of each place."""
    found, counts = np.unique(values, return_counts=True)
    tries = [np.full(values.shape[1:], found[counts.argmax()])]
    if len(found) <= _MOST_VALUES:
        votes: NDArray[np.int64] = np.stack([(values == v).sum(axis=0) for v in found])
        tries.append(found[votes.argmax(axis=0)])
    return tries


def _named(value: Array, reference: Reference) -> str:
    index, classes = int(value), reference.dataset.classes
    return classes[index] if 0 <= index < len(classes) else str(index)
