"""One model against the original, sample by sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from sprat.data.dataset import Dataset
from sprat.errors import DataError, OptionError
from sprat.evaluate.interval import paired_interval
from sprat.evaluate.predict import BATCH, mixing_operator, predict_all
from sprat.evaluate.reading import (
    Answers,
    Reading,
    agreement,
    agreement_counts,
    agreement_name,
    answers,
    divergence,
    same,
)
from sprat.evaluate.types import Evaluation, Flip, OutputDistance
from sprat.model.inspect import fixed_batch
from sprat.model.session import Outputs
from sprat.progress import Progress, silent
from sprat.spread import ALONE, Spread

#: A user's metric: outputs and labels to one score per sample, 0 to 1, higher is better.
Metric = Callable[[Outputs, NDArray[np.int64] | None], NDArray[np.float64]]

_NOTHING = 1e-12


@dataclass(frozen=True)
class _Judged:
    """One output of a model against the original's.

    Attributes:
        metric: What the scores are called.
        reference: ``[N]`` the original's scores.
        model: ``[N]`` the model's.
        agree: ``[N]`` how far the answers are the same.
        divergence: Mean over the samples.
        words: Which output and channels these are, where there are several.
        counts: Whether a score is right or wrong; None where a user's metric does not say.
    """

    metric: str
    reference: NDArray[np.float64]
    model: NDArray[np.float64]
    agree: NDArray[np.float64]
    divergence: float
    words: str
    counts: bool | None

    @property
    def drop(self) -> float:
        """How much worse the model is, in points."""
        return 100 * float((self.reference - self.model).mean())


@dataclass(frozen=True)
class Reference:
    """The original model's answers on one set, against which others are measured.

    Attributes:
        dataset: The samples.
        split: Their name in reports.
        reading: How the primary output is read.
        outputs: The original's outputs, those that are measured.
        answers: The original's answers.
        scores: ``[N]`` the original's score on each sample.
        size: Samples in one run.
        metric: The user's metric, if any, and its name.
    """

    dataset: Dataset
    split: str
    reading: Reading
    outputs: Outputs
    answers: Answers
    scores: NDArray[np.float64]
    size: int
    metric: tuple[str, Metric] | None = None

    @property
    def accuracy(self) -> float:
        """Mean score of the original, 0 to 1."""
        return float(self.scores.mean())

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """``[N]`` class indices, or None where a sample has no label."""
        return labels_of(self.dataset)

    def evaluate(
        self,
        model: onnx.ModelProto | Path,
        progress: Progress = silent,
        spread: Spread = ALONE,
        size: int | None = None,
    ) -> Evaluation:
        """Measure a model against the original on these samples.

        Args:
            model: The model; it must have the outputs that are measured.
            progress: Told how many samples are done.
            spread: Who takes part.
            size: Samples in one run; by default as many as the original's, where the model takes
                them and treats each sample for itself.

        Returns:
            Scores, the paired difference with its interval, agreement, output error and flips.

        Raises:
            DataError: The model lacks an output of the original, or gives another shape.
        """
        size = size or self._size_of(model)
        names = tuple(self.outputs)
        return self.compare(predict_all(model, self.dataset, size, progress, spread, names))

    def _size_of(self, model: onnx.ModelProto | Path) -> int:
        """Return how many samples of a run a candidate takes; a page sends it one."""
        if isinstance(model, Path):
            return self.size
        return fixed_batch(model) or (1 if mixing_operator(model) else self.size)

    def compare(self, outputs: Outputs) -> Evaluation:
        """Measure what a model gave on these samples, wherever it ran.

        Args:
            outputs: Each measured output over all samples.

        Returns:
            As :meth:`evaluate`; where several outputs decide, that of the one that lost most.

        Raises:
            DataError: An output of the original is missing, or has another shape.
        """
        for name, values in self.outputs.items():
            got = outputs.get(name)
            if got is None or got.shape != values.shape:
                raise DataError(
                    f"output {name!r} has shape {list(values.shape)} in the reference and "
                    f"{'no counterpart' if got is None else list(got.shape)} in the model."
                )
        judged = [self._judge(outputs, reading) for reading in self._deciding()]
        worst = max(judged, key=lambda found: found.drop)
        theirs = answers(outputs, self.reading)
        invalid = _invalid(outputs, self.reading)
        return Evaluation(
            split=self.split,
            samples=len(self.scores),
            metric=worst.metric,
            reference=float(worst.reference.mean()),
            model=_rounded(float(worst.model.mean())),
            drop=worst.drop,
            interval=paired_interval(worst.reference, worst.model, counts=worst.counts),
            agreement=min(float(found.agree.mean()) for found in judged),
            error=_output_error(self.outputs, outputs, max(found.divergence for found in judged)),
            flips=self._flips(theirs, judged[0].agree),
            worst=worst.words,
            invalid=int(invalid.sum()),
            first_invalid=self.first_of(invalid),
            lost=int((invalid & ~_invalid(self.outputs, self.reading)).sum()),
        )

    def _deciding(self) -> tuple[Reading, ...]:
        """Return what decides: a user's metric has all outputs already."""
        return self.reading.deciding if self.metric is None else (self.reading,)

    def first_of(self, marked: NDArray[np.bool_]) -> str:
        """Return the name of the first marked sample; empty where none is."""
        return self.dataset.samples[int(marked.argmax())].name if marked.any() else ""

    def _judge(self, outputs: Outputs, reading: Reading) -> _Judged:
        """Measure one output; the labels and the user's metric are about the primary one."""
        primary = reading == self.reading
        ours = self.answers if primary else answers(self.outputs, reading)
        theirs = answers(outputs, reading)
        agree, channels = agreement(ours, theirs, reading)
        before, after = ours.valid.astype(np.float64), agree
        metric = agreement_name(ours, reading)
        counts: bool | None = agreement_counts(ours, reading)
        if primary and (self.metric is not None or self.is_labelled):
            before, after = self.scores, score(theirs, self.answers, outputs, self)
            metric, counts = metric_name(self), None if self.metric is not None else True
        mine, got = self.outputs[reading.output], outputs[reading.output]
        output = f"output {reading.output!r}" if self.reading.others else ""
        return _Judged(
            metric,
            before,
            after,
            agree,
            float(divergence(mine, got, reading).mean()),
            ", ".join(filter(None, (output, channels))),
            counts,
        )

    @property
    def is_labelled(self) -> bool:
        """Whether each answer is a class that a label says right or wrong of."""
        return self.labels is not None and _is_class(self.answers, self.reading)

    def _flips(self, theirs: Answers, agree: NDArray[np.float64]) -> tuple[Flip, ...]:
        several = theirs.values.ndim > 1 and self.reading.kind == "integers"
        if self.reading.kind == "vector" or several:
            return ()
        found = []
        classes = self.dataset.classes
        for i in np.flatnonzero(agree == 0):
            sample = self.dataset.samples[i]
            found.append(
                Flip(
                    sample=sample.name,
                    label=_named(sample.label, classes),
                    reference=_named(self.answers.values[i], classes),
                    model=_named(theirs.values[i], classes),
                    reference_score=float(self.answers.confidence[i]),
                    model_score=float(theirs.confidence[i]),
                )
            )
        return tuple(sorted(found, key=lambda f: (-f.reference_score, f.sample)))


def reference_on(
    model: onnx.ModelProto | Path,
    dataset: Dataset,
    split: str,
    reading: Reading,
    *,
    outputs: Outputs | None = None,
    size: int = BATCH,
    metric: tuple[str, Metric] | None = None,
    progress: Progress = silent,
    spread: Spread = ALONE,
    names: Sequence[str] = (),
) -> Reference:
    """Run the original over a set and keep its answers.

    Args:
        model: The original.
        dataset: The samples.
        split: Their name in reports.
        reading: How the outputs that decide are read.
        outputs: The original's outputs on this set, where they are known already.
        size: Samples in one run.
        metric: The user's metric, if any, and its name.
        progress: Told how many samples are done.
        spread: Who takes part.
        names: Outputs that are run beside those that decide, such as a metric's.

    Returns:
        The reference.
    """
    if outputs is None:
        wanted = dict.fromkeys([*(read.output for read in reading.deciding), *names])
        outputs = predict_all(model, dataset, size, progress, spread, tuple(wanted))
    mine = answers(outputs, reading)
    base = Reference(dataset, split, reading, outputs, mine, np.zeros(0), size, metric)
    _check_numbers(base)
    return replace(base, scores=score(mine, mine, outputs, base))


def _invalid(outputs: Outputs, reading: Reading) -> NDArray[np.bool_]:
    """Return ``[N]`` whether an output that decides holds NaN."""
    flat = [outputs[r.output].reshape(len(outputs[r.output]), -1) for r in reading.deciding]
    return np.asarray(np.logical_or.reduce([np.isnan(values).any(axis=1) for values in flat]))


def _check_numbers(reference: Reference) -> None:
    """Refuse an original whose deciding output is nowhere a number."""
    for reading in reference.reading.deciding:
        valid = answers(reference.outputs, reading).valid
        if len(valid) and not valid.any():
            raise DataError(
                f"output {reading.output!r} of the original is NaN on all {len(valid)} samples.",
                hint="Check the model and the preprocessing; nothing can be compared with NaN.",
            )


def labels_of(dataset: Dataset) -> NDArray[np.int64] | None:
    """Return ``[N]`` class indices, or None where any sample has no label."""
    found = [sample.label for sample in dataset.samples]
    known = [label for label in found if label is not None]
    return np.array(known, dtype=np.int64) if len(known) == len(found) else None


def score(
    theirs: Answers, original: Answers, outputs: Outputs, reference: Reference
) -> NDArray[np.float64]:
    """Score each sample: the user's metric, else right or wrong, else agreement.

    Returns:
        ``[N]`` scores.

    Raises:
        OptionError: The user's metric does not give one number per sample.
    """
    labels = reference.labels
    if reference.metric is not None:
        name, metric = reference.metric
        try:
            scores = np.asarray(metric(outputs, labels), dtype=np.float64)
        except Exception as error:  # the user's own function
            raise OptionError(
                f"the metric failed: {type(error).__name__}: {error}", where=name
            ) from error
        count = len(reference.dataset.samples)
        if scores.shape != (count,):
            raise OptionError(
                f"the metric gave shape {list(scores.shape)}; it must give one score per sample, "
                f"[{count}].",
                where=name,
            )
        if wrong := int((~np.isfinite(scores)).sum()):
            raise OptionError(f"the metric gave {wrong} numbers that are not finite.", where=name)
        return scores
    if labels is not None and reference.is_labelled:
        return np.asarray((theirs.values == labels) & theirs.valid, dtype=np.float64)
    return same(original, theirs, reference.reading)


def metric_name(reference: Reference) -> str:
    """Return what the scores are called in reports."""
    if reference.metric is not None:
        return reference.metric[0]
    if reference.is_labelled:
        return "accuracy"
    return agreement_name(reference.answers, reference.reading)


def _is_class(given: Answers, reading: Reading) -> bool:
    """Say whether an answer is one class, so that a label can be right or wrong."""
    return reading.kind not in {"sequence", "vector"} and given.values.ndim == 1


def _rounded(mean: float) -> float:
    """Return 0 for what is 0 but for rounding."""
    return 0.0 if abs(mean) < _NOTHING else mean


def _named(value: Any, classes: Sequence[str]) -> str:
    if value is None:
        return ""
    if np.ndim(value) > 0:
        return " ".join(str(v) for v in np.asarray(value) if v >= 0)[:120]
    index = int(value)
    return classes[index] if 0 <= index < len(classes) else str(index)


def _output_error(reference: Outputs, model: Outputs, spread: float) -> OutputDistance:
    largest = total = signal = noise = 0.0
    count = 0
    for name, values in reference.items():
        ref, got = values.astype(np.float64), model[name].astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            difference = np.where(ref == got, 0.0, got - ref)
        known = np.isfinite(ref)
        ref, difference = ref[known], difference[known]
        # What is no number is wrong by all that should be there; how often is told beside it.
        difference = np.where(np.isfinite(difference), difference, ref)
        largest = max(largest, float(np.abs(difference).max(initial=0.0)))
        total += float(np.abs(difference).sum())
        signal += float((ref**2).sum())
        noise += float((difference**2).sum())
        count += difference.size
    snr = math.inf if noise == 0 else 10 * math.log10(max(signal, 1e-300) / noise)
    return OutputDistance(largest, total / max(1, count), min(snr, 999.0), spread)
