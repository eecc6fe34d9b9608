"""How a model's outputs are read: as a logit, classes, a sequence, integers, or a vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from sprat.errors import OptionError
from sprat.evaluate.groups import Grouping, concordance, find_groups, group_errors, worst
from sprat.evaluate.types import OutputKind
from sprat.model.session import Outputs

Array = NDArray[Any]
_ALONE, _TOGETHER = {"Sigmoid", "Softmax"}, {"Softmax"}
_TINY = 1e-12
_ONE = 1e-3
_BLANK_SHARE = 0.2
_ENDLESS = 1e30
#: Divergence of a sample whose output is no number: in nats that of a certain wrong answer, in
#: squared error that of the opposite answer.
_LOST_NATS, _LOST_SQUARES = -float(np.log(_TINY)), 4.0


@dataclass(frozen=True)
class Reading:
    """How the primary output becomes an answer.

    Attributes:
        output: Name of the primary output.
        kind: See :data:`sprat.evaluate.types.OutputKind`.
        probability: The values are probabilities already (Sigmoid or Softmax is in the model).
        threshold: For ``logit``: above it the answer is class 1.
        blank: For ``sequence``: the class that stands for nothing between symbols (CTC, Graves et
            al. 2006), which is dropped after repeats are collapsed; -1 where there is none.
        common: For ``integers``: the commonest value of the original, such as a background.
        grouping: For ``vector``: which channels have a scale in common.
        others: How the other outputs that decide are read; none of them has others.
    """

    output: str
    kind: OutputKind
    probability: bool = False
    threshold: float = 0.0
    blank: int = -1
    common: int = 0
    grouping: Grouping | None = None
    others: tuple[Reading, ...] = ()

    @property
    def deciding(self) -> tuple[Reading, ...]:
        """How each output that decides is read, the primary one first."""
        return (self, *self.others)

    def groups_of(self, values: Array) -> Grouping:
        """Return the grouping of a vector output; that of these values where none is known."""
        return find_groups(values) if self.grouping is None else self.grouping


@dataclass(frozen=True)
class Answers:
    """What a model says of each sample.

    Attributes:
        values: ``[N]`` class indices; ``[N, T]`` for a sequence, repeats collapsed, blanks dropped,
            padded with -1; the output itself for ``integers`` and ``vector``, ``[N]`` where it
            has one integer a sample.
        confidence: ``[N]`` score of the answer; a probability wherever one can be formed.
        valid: ``[N]`` whether there is an answer: the output is a number throughout.
    """

    values: Array
    confidence: NDArray[np.float64]
    valid: NDArray[np.bool_]


def guess_reading(
    model: onnx.ModelProto,
    outputs: Outputs,
    *,
    classes: Sequence[str] = (),
    kind: OutputKind | None = None,
    name: str | None = None,
    threshold: float | None = None,
) -> tuple[Reading, tuple[str, ...]]:
    """Guess how the primary output is read from its shape, its last operator and the labels.

    Args:
        model: The reference model.
        outputs: Its outputs on some samples.
        classes: Names of the classes of the data; empty without labels.
        kind: Overrides the guess.
        name: Name of the output that decides; by default all of them do, the first is primary.
        threshold: Overrides 0 (logit) or 0.5 (probability).

    Returns:
        The reading, and each guess in words.

    Raises:
        OptionError: There is no such output, or it does not fit ``kind``.
    """
    output = name or next(iter(outputs))
    if output not in outputs:
        raise OptionError(
            f"there is no output {output!r}; the model has {', '.join(outputs)}.",
            where="--output",
        )
    values = outputs[output]
    if not isinstance(values, np.ndarray) or values.ndim == 0:
        raise OptionError(
            f"output {output!r} is no tensor with an axis of samples.", where="--output"
        )
    reading = _read(model, output, values, classes, kind, threshold)
    notes = []
    if kind is None:
        notes.append(_told(reading, values))
    if name is None:
        others = tuple(
            _read(model, other, found)
            for other, found in outputs.items()
            if other != output and isinstance(found, np.ndarray) and found.ndim > 0
        )
        reading = replace(reading, others=others)
        notes += [_told(r, outputs[r.output]) for r in others]
        if others:
            notes.append(
                f"each of the {len(others) + 1} outputs decides, the worst counts (--output)"
            )
    if reading.blank >= 0:
        notes.append(
            f"class {reading.blank} is the commonest and first or last: read as the CTC blank"
        )
    return reading, tuple(notes)


def _read(
    model: onnx.ModelProto,
    output: str,
    values: Array,
    classes: Sequence[str] = (),
    kind: OutputKind | None = None,
    threshold: float | None = None,
) -> Reading:
    """Return how one output is read; the arguments are those of :func:`guess_reading`."""
    producer = producer_of(model, output)
    # Several columns behind a Sigmoid are labels of their own, and no distribution.
    alone = values.size == len(values)
    probability = producer in (_ALONE if alone else _TOGETHER) or _sums_to_one(values)
    chosen = kind or _guess_kind(values, "Softmax" if probability else producer, classes)
    _check_kind(values, chosen, output)
    default = 0.5 if probability else 0.0
    return Reading(
        output,
        chosen,
        probability,
        default if threshold is None else threshold,
        blank=_guess_blank(values) if chosen == "sequence" else -1,
        common=_commonest(values) if chosen == "integers" else 0,
        grouping=find_groups(values) if chosen == "vector" else None,
    )


def _told(reading: Reading, values: Array) -> str:
    """Say how an output is read, and what may be unexpected in it."""
    said = f"output {reading.output!r} of shape {list(values.shape)} is read as {reading.kind}"
    if reading.grouping is not None and len(reading.grouping.groups) > 1:
        count, axis = len(reading.grouping.groups), reading.grouping.axis
        said += f" of {count} groups of channels (axis {axis}), the worst counts"
    return said


def _commonest(values: Array) -> int:
    found, counts = np.unique(values, return_counts=True)
    return int(found[counts.argmax()]) if len(found) else 0


def producer_of(model: onnx.ModelProto, output: str) -> str:
    """Return the operator that makes ``output``, looking through shape-only operators."""
    makers = {name: node for node in model.graph.node for name in node.output}
    node = makers.get(output)
    while node is not None and node.op_type in {"Identity", "Cast", "Reshape", "Squeeze"}:
        node = makers.get(node.input[0])
    return node.op_type if node is not None else ""


def _sums_to_one(values: Array) -> bool:
    """Say whether every row is a distribution: a softmax written out in other operators."""
    if values.ndim < 2 or values.shape[-1] < 2 or not np.issubdtype(values.dtype, np.floating):
        return False
    positive = bool((values >= 0).all())
    return positive and bool(np.abs(values.sum(axis=-1) - 1).max(initial=0.0) < _ONE)


def _guess_kind(values: Array, producer: str, classes: Sequence[str]) -> OutputKind:
    flat = values.reshape(len(values), -1)
    if not np.issubdtype(values.dtype, np.floating):
        return "integers"
    if flat.shape[1] == 1:
        return "logit"
    if values.ndim == 3 and producer == "Softmax":
        return "sequence"
    if values.ndim == 2 and (classes or producer in {"Softmax", "LogSoftmax", "Gemm", "Add"}):
        return "classes"
    return "vector"


def _guess_blank(values: Array) -> int:
    """Return the class of CTC's blank: the first or last one, where it is by far the commonest."""
    best = values.argmax(axis=-1).ravel()
    counts = np.bincount(best, minlength=values.shape[-1])
    top = int(counts.argmax())
    ends = top in (0, values.shape[-1] - 1)
    return top if ends and counts[top] > _BLANK_SHARE * len(best) else -1


def _check_kind(values: Array, kind: OutputKind, output: str) -> None:
    needs = {
        "logit": "one value",
        "classes": "[N, C], C at least 2",
        "sequence": "[N, T, C]",
        "integers": "whole numbers",
    }
    columns = values.reshape(len(values), -1).shape[1]
    fits = {
        "logit": columns == 1,
        "classes": columns >= 2 and values.size == len(values) * columns,
        "sequence": values.ndim == 3,
        "integers": kind != "integers" or bool((values == np.floor(values)).all()),
    }
    if kind in needs and not fits[kind]:
        raise OptionError(
            f"output {output!r} has shape {list(values.shape)}, {kind} needs {needs[kind]}.",
            where="--output-kind",
        )


def probabilities(values: Array, reading: Reading) -> NDArray[np.float64]:
    """Turn the primary output into class probabilities along the last axis.

    A logit becomes the two-class form ``[1 - p, p]``; class scores go through a softmax unless
    the model has one already.

    Args:
        values: The primary output, samples along axis 0.
        reading: A reading of kind ``logit``, ``classes`` or ``sequence``.

    Returns:
        Probabilities in float64.
    """
    scores = values.astype(np.float64)
    if reading.kind == "logit":
        scores = scores.reshape(len(scores))
        p = scores if reading.probability else _sigmoid(scores - reading.threshold)
        return np.stack([1 - p, p], axis=-1)
    if reading.kind == "classes":
        scores = scores.reshape(len(scores), -1)
    if reading.probability:
        return scores
    scores = np.clip(scores, -_ENDLESS, _ENDLESS)  # infinities have no difference
    shifted = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


def answers(outputs: Outputs, reading: Reading) -> Answers:
    """Read a model's outputs.

    Args:
        outputs: Outputs by name, samples along axis 0.
        reading: How to read them.

    Returns:
        One answer per sample.
    """
    values = outputs[reading.output]
    flat = values.reshape(len(values), -1)
    valid = np.asarray(~np.isnan(flat).any(axis=1))
    if reading.kind in ("integers", "vector"):
        one = reading.kind == "integers" and flat.shape[1] == 1
        return Answers(flat[:, 0] if one else values, np.ones(len(values)), valid)
    if reading.kind == "logit":
        p = probabilities(values, reading)
        raw = values.reshape(len(values)).astype(np.float64)
        chosen = (raw > reading.threshold).astype(np.int64)
        return Answers(chosen, p[np.arange(len(p)), chosen], valid)
    p = probabilities(values, reading)
    best = p.argmax(axis=-1)
    top = p.max(axis=-1)
    if reading.kind == "sequence":
        return Answers(_collapse(best, reading.blank), top.min(axis=-1), valid)
    return Answers(best, top, valid)


def _collapse(steps: NDArray[np.int64], blank: int) -> NDArray[np.int64]:
    """Collapse repeats along axis 1, so that a symbol one step earlier is the same answer."""
    out = np.full_like(steps, -1)
    for row, line in zip(out, steps, strict=True):
        kept = line[np.concatenate([[True], line[1:] != line[:-1]])]
        kept = kept[kept != blank]
        row[: len(kept)] = kept
    return out


def same(a: Answers, b: Answers, reading: Reading) -> NDArray[np.float64]:
    """Say how far two models agree, sample by sample.

    Args:
        a: The reference's answers.
        b: The model's.
        reading: How the output is read.

    Returns:
        ``[N]``: 1 or 0 for same or different answers; for several integers a sample, 1 less the
        share of different ones (:func:`_equal_share`); for ``vector`` the concordance of the group
        that agrees least. 0 where one of the two has no answer.
    """
    return agreement(a, b, reading)[0]


def agreement(a: Answers, b: Answers, reading: Reading) -> tuple[NDArray[np.float64], str]:
    """Return what :func:`same` does, and of a vector which channels agree least.

    Returns:
        ``[N]`` scores; the channels in words, empty where there is one group.
    """
    valid, words = a.valid & b.valid, ""
    if reading.kind == "vector":
        grouping = reading.groups_of(a.values)
        by_group = concordance(a.values, b.values, grouping)
        least = worst(by_group)
        alike, words = by_group[:, least], grouping.words(least)
    elif reading.kind == "integers" and a.values.ndim > 1:
        alike = _equal_share(a.values, b.values, reading.common)
    else:
        equal = a.values == b.values
        alike = equal.reshape(len(equal), -1).all(axis=1).astype(np.float64)
    return np.where(valid & np.isfinite(alike), alike, 0.0), words


def agreement_name(given: Answers, reading: Reading) -> str:
    """Return what agreement with the original is called in reports."""
    if reading.kind == "vector":
        return "concordance"
    return "agreement" if agreement_counts(given, reading) else "equal integers"


def agreement_counts(given: Answers, reading: Reading) -> bool:
    """Say whether two answers either agree or do not: nothing is in between."""
    several = reading.kind == "integers" and given.values.ndim > 1
    return reading.kind != "vector" and not several


def _equal_share(a: Array, b: Array, common: int) -> NDArray[np.float64]:
    """Return how many of the integers are equal where either model gives an uncommon one.

    Where both give the commonest value, such as a background, nothing is counted: a model that
    always gives it would agree almost everywhere. The samples' mean is the share over the whole
    set, so that a sample without anything uncommon weighs nothing.

    Returns:
        ``[N]``: 1 less the sample's different positions over the mean number of counted ones.
    """
    flat_a, flat_b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    different = (flat_a != flat_b).sum(axis=1)
    counted = ((flat_a != common) | (flat_b != common)).sum(axis=1)
    return np.asarray(1 - different / max(float(counted.mean()), _TINY))


def divergence(reference: Array, model: Array, reading: Reading) -> NDArray[np.float64]:
    """Measure how far the model's answer distribution lies from the reference's.

    Args:
        reference: The output of the reference that ``reading`` is about, samples along axis 0.
        model: The same of the model.
        reading: How they are read.

    Returns:
        ``[N]``: KL(reference || model) in nats, averaged over positions. For vectors the squared
        error of the group of channels where its mean is largest, in units of the group's spread.
        For one integer a sample 1 where it is another; for several the different ones over the
        mean number of those that :func:`_equal_share` counts. Finite: large where the model's
        output is no number, 0 where the reference's is none.
    """
    known = ~np.isnan(reference.reshape(len(reference), -1)).any(axis=1)
    if reading.kind == "vector":
        errors = group_errors(reference, model, reading.groups_of(reference))
        found = errors[:, worst(-errors)]
        lost = _LOST_SQUARES
    elif reading.kind == "integers":
        if reference.size == len(reference):
            found = (reference.ravel() != model.ravel()).astype(np.float64)
        else:
            found = 1 - _equal_share(reference, model, reading.common)
        lost = 1.0
    else:
        p, q = probabilities(reference, reading), probabilities(model, reading)
        terms = p * (np.log(np.maximum(p, _TINY)) - np.log(np.maximum(q, _TINY)))
        total = terms.sum(axis=-1)
        found = total.reshape(len(total), -1).mean(axis=1)
        lost = _LOST_NATS
    return np.where(known, np.where(np.isfinite(found), found, lost), 0.0)


@dataclass(frozen=True)
class MeanDivergence:
    """The mean divergence over batches, of the output that diverges most.

    Attributes:
        reading: Says which outputs decide, and what they are.
    """

    reading: Reading

    def __call__(self, reference: Sequence[Outputs], model: Sequence[Outputs]) -> float:
        """Return the mean over all samples of all batches; the largest of the outputs that decide.

        A vector's batches of one shape are joined: the worst group is that of all samples. So are
        those of integers, which are counted over the whole set.
        """
        return max(self._mean(reference, model, reading) for reading in self.reading.deciding)

    def _mean(
        self, reference: Sequence[Outputs], model: Sequence[Outputs], reading: Reading
    ) -> float:
        name = reading.output
        a, b = [outputs[name] for outputs in reference], [outputs[name] for outputs in model]
        joined = reading.kind in ("vector", "integers")
        if joined and len({values.shape[1:] for values in (*a, *b)}) == 1:
            a, b = [np.concatenate(a)], [np.concatenate(b)]
        parts = [divergence(x, y, reading) for x, y in zip(a, b, strict=True)]
        return float(np.concatenate(parts).mean())


def best_order(answered: Array, labels: Array, classes: int) -> tuple[tuple[int, ...], float]:
    """Find the class order that fits the labels best.

    Args:
        answered: ``[N]`` class indices that the model gave.
        labels: ``[N]`` true class indices.
        classes: How many classes there are.

    Returns:
        The class that each output would mean, and the accuracy that it would give
        (the assignment problem, solved by ``scipy.optimize.linear_sum_assignment``).
    """
    from scipy.optimize import linear_sum_assignment

    counts = np.zeros((classes, classes))
    np.add.at(counts, (answered, labels), 1)
    _, order = linear_sum_assignment(counts, maximize=True)
    hits = counts[np.arange(classes), order].sum()
    return tuple(int(i) for i in order), float(hits / max(1, len(labels)))
