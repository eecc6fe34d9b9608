"""How a model's output is read: as a logit, classes, a sequence of classes, or a vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from sprat.errors import OptionError
from sprat.evaluate.types import OutputKind
from sprat.model.session import Outputs

Array = NDArray[Any]
_ALONE, _TOGETHER = {"Sigmoid", "Softmax"}, {"Softmax"}
_TINY = 1e-12
_ONE = 1e-3
_BLANK_SHARE = 0.2


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
        others: How the other outputs that decide are read; none of them has others.
    """

    output: str
    kind: OutputKind
    probability: bool = False
    threshold: float = 0.0
    blank: int = -1
    others: tuple[Reading, ...] = ()

    @property
    def deciding(self) -> tuple[Reading, ...]:
        """How each output that decides is read, the primary one first."""
        return (self, *self.others)


@dataclass(frozen=True)
class Answers:
    """What a model says of each sample.

    Attributes:
        values: ``[N]`` class indices; ``[N, T]`` for a sequence, repeats collapsed, blanks dropped,
            padded with -1; ``[N, D]`` unit vectors for ``vector``.
        confidence: ``[N]`` score of the answer; a probability wherever one can be formed.
    """

    values: Array
    confidence: NDArray[np.float64]


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
    producer = producer_of(model, output)
    # Several columns behind a Sigmoid are labels of their own, and no distribution.
    alone = values.size == len(values)
    probability = producer in (_ALONE if alone else _TOGETHER) or _sums_to_one(values)
    chosen = kind or _guess_kind(values, "Softmax" if probability else producer, classes)
    _check_kind(values, chosen, output)
    notes = []
    if kind is None:
        notes.append(f"output {output!r} of shape {list(values.shape)} is read as {chosen}")
    others: list[Reading] = []
    for other in (other for other in outputs if name is None and other != output):
        found, said = guess_reading(model, outputs, name=other)
        others.append(found)
        notes += said
    if others:
        notes.append(f"each of the {len(others) + 1} outputs decides, the worst counts (--output)")
    default = 0.5 if probability else 0.0
    limit = default if threshold is None else threshold
    blank = _guess_blank(values) if chosen == "sequence" else -1
    if blank >= 0:
        notes.append(f"class {blank} is the commonest and first or last: read as the CTC blank")
    reading = Reading(output, chosen, probability, limit, blank=blank, others=tuple(others))
    return reading, tuple(notes)


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
        return "vector"
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
    needs = {"logit": "one value", "classes": "[N, C], C at least 2", "sequence": "[N, T, C]"}
    columns = values.reshape(len(values), -1).shape[1]
    fits = {
        "logit": columns == 1,
        "classes": columns >= 2 and values.size == len(values) * columns,
        "sequence": values.ndim == 3,
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
    if reading.kind == "vector":
        flat = values.reshape(len(values), -1).astype(np.float64)
        norm = np.maximum(np.linalg.norm(flat, axis=1), _TINY)
        return Answers(flat / norm[:, None], norm)
    if reading.kind == "logit":
        p = probabilities(values, reading)
        raw = values.reshape(len(values)).astype(np.float64)
        chosen = (raw > reading.threshold).astype(np.int64)
        return Answers(chosen, p[np.arange(len(p)), chosen])
    p = probabilities(values, reading)
    best = p.argmax(axis=-1)
    top = p.max(axis=-1)
    if reading.kind == "sequence":
        return Answers(_collapse(best, reading.blank), top.min(axis=-1))
    return Answers(best, top)


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

    Returns:
        ``[N]``: 1 or 0 for same or different answers; the cosine similarity for ``vector``.
    """
    if reading.kind == "vector":
        return np.asarray(np.sum(a.values * b.values, axis=1))
    equal = a.values == b.values
    return np.asarray(equal.reshape(len(equal), -1).all(axis=1), dtype=np.float64)


def divergence(reference: Array, model: Array, reading: Reading) -> NDArray[np.float64]:
    """Measure how far the model's answer distribution lies from the reference's.

    Args:
        reference: Primary output of the reference, samples along axis 0.
        model: The same of the model.
        reading: How they are read.

    Returns:
        ``[N]``: KL(reference || model) in nats, averaged over positions; for vectors the squared
        error over the mean square of the reference.
    """
    if reading.kind == "vector":
        ref = reference.reshape(len(reference), -1).astype(np.float64)
        error = model.reshape(len(model), -1).astype(np.float64) - ref
        return np.asarray((error**2).mean(axis=1) / max(float((ref**2).mean()), _TINY))
    p, q = probabilities(reference, reading), probabilities(model, reading)
    terms = p * (np.log(np.maximum(p, _TINY)) - np.log(np.maximum(q, _TINY)))
    total = terms.sum(axis=-1)
    return np.asarray(total.reshape(len(total), -1).mean(axis=1))


@dataclass(frozen=True)
class MeanDivergence:
    """The mean divergence over batches, of the output that diverges most.

    Attributes:
        reading: Says which outputs decide, and what they are.
    """

    reading: Reading

    def __call__(self, reference: Sequence[Outputs], model: Sequence[Outputs]) -> float:
        """Return the mean over all samples of all batches, of the output with the largest."""
        return max(_mean(reference, model, reading) for reading in self.reading.deciding)


def _mean(reference: Sequence[Outputs], model: Sequence[Outputs], reading: Reading) -> float:
    name = reading.output
    parts = [divergence(a[name], b[name], reading) for a, b in zip(reference, model, strict=True)]
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
