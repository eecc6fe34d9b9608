"""One model against the original, sample by sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from sprat.data.dataset import Dataset
from sprat.errors import DataError, OptionError
from sprat.evaluate.interval import paired_interval
from sprat.evaluate.reading import Answers, Reading, answers, divergence, same
from sprat.evaluate.types import Evaluation, Flip, OutputDistance
from sprat.model.inspect import fixed_batch
from sprat.model.session import Feeds, Outputs, is_weight_only, open_session, predict
from sprat.parallel import cores
from sprat.progress import Progress, silent
from sprat.spread import ALONE, Spread, Task

#: A user's metric: outputs and labels to one score per sample, 0 to 1, higher is better.
Metric = Callable[[Outputs, NDArray[np.int64] | None], NDArray[np.float64]]

#: Samples in one run of a model whose batch axis is dynamic.
BATCH = 8
_MAX_OUTPUT_BYTES = 2**31
#: Batches a core that one who takes part gets at a time.
_PIECE = 4


def batch_size(model: onnx.ModelProto) -> int:
    """Return how many samples go into one run: the first input's fixed batch size, or 8."""
    return fixed_batch(model) or BATCH


@dataclass(frozen=True, eq=False)
class Answering(Task[range, Outputs]):
    """Runs a model over batches of a set, given by their numbers.

    Attributes:
        model: The model. Quantized weights of a weight-only model are expanded once at load.
        dataset: The samples.
        size: Samples in one run; the last batch is filled up with its last sample.
    """

    model: onnx.ModelProto | Path
    dataset: Dataset
    size: int

    @cached_property
    def session(self) -> ort.InferenceSession:
        """What runs it."""
        return open_session(self.model, fold_weights=is_weight_only(self.model))

    def __call__(self, numbers: range) -> Iterator[Outputs]:
        """Yield the outputs of each batch."""
        return predict(self.session, (self._feeds(number) for number in numbers))

    def _feeds(self, number: int) -> Feeds:
        first = number * self.size
        last = min(first + self.size, len(self.dataset.samples))
        return _padded(self.dataset.batch(range(first, last)), self.size)


def predict_all(
    model: onnx.ModelProto | Path,
    dataset: Dataset,
    size: int,
    progress: Progress = silent,
    spread: Spread = ALONE,
) -> Outputs:
    """Run a model over a whole set.

    Args:
        model: The model. Quantized weights of a weight-only model are expanded once at load.
        dataset: The samples.
        size: Samples in one run.
        progress: Told how many samples are done.
        spread: Who takes part.

    Returns:
        Each output over all samples.

    Raises:
        DataError: The outputs would not fit in memory.
        ShapeMismatchError: The samples do not fit the inputs.
    """
    task = Answering(model, dataset, size)
    count = len(dataset.samples)
    pieces = spread.pieces(math.ceil(count / size), _PIECE * cores())
    parts: dict[str, list[NDArray[Any]]] = {}
    done = 0
    for outputs in spread.flat(task, pieces):
        real = min(size, count - done)
        for name, values in outputs.items():
            parts.setdefault(name, []).append(_by_sample(name, values, size, real))
        done += real
        expected = sum(p[0].nbytes for p in parts.values()) / size * count
        if expected > _MAX_OUTPUT_BYTES:
            raise DataError(
                f"the outputs of {count} samples take {expected / 1e9:.1f} GB.",
                hint="Take fewer samples with --limit.",
            )
        progress("running the model", done, count)
    return {name: np.concatenate(part) for name, part in parts.items()}


def _padded(feeds: dict[str, Any], size: int) -> dict[str, Any]:
    """Repeat the last sample until the batch is full, for models of a fixed batch size."""
    short = {k: size - len(v) for k, v in feeds.items()}
    if not any(short.values()):
        return feeds
    return {k: np.concatenate([v, np.repeat(v[-1:], short[k], axis=0)]) for k, v in feeds.items()}


def _by_sample(name: str, values: NDArray[Any], size: int, real: int) -> NDArray[Any]:
    """Return the outputs of the real samples of a batch, along the first axis."""
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
        raise DataError(
            f"output {name!r} is no tensor of numbers (a sequence, a map or text).",
            hint="Export the model with tensors of scores as its outputs.",
        )
    if size == 1:
        values = np.atleast_1d(values)  # a Squeeze of all axes takes that of one sample along
    if values.ndim == 0 or len(values) != size:
        raise DataError(
            f"output {name!r} has shape {list(values.shape)} for {size} samples; "
            "its first axis must be the samples.",
            hint="Choose another output with --output.",
        )
    return values[:real]


@dataclass(frozen=True)
class Reference:
    """The original model's answers on one set, against which others are measured.

    Attributes:
        dataset: The samples.
        split: Their name in reports.
        reading: How the primary output is read.
        outputs: The original's outputs.
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
        self, model: onnx.ModelProto | Path, progress: Progress = silent, spread: Spread = ALONE
    ) -> Evaluation:
        """Measure a model against the original on these samples.

        Args:
            model: The model; it must have the original's outputs.
            progress: Told how many samples are done.
            spread: Who takes part.

        Returns:
            Scores, the paired difference with its interval, agreement, output error and flips.

        Raises:
            DataError: The model lacks an output of the original, or gives another shape.
        """
        return self.compare(predict_all(model, self.dataset, self.size, progress, spread))

    def compare(self, outputs: Outputs) -> Evaluation:
        """Measure what a model gave on these samples, wherever it ran.

        Args:
            outputs: Each output over all samples.

        Returns:
            As :meth:`evaluate`.

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
        theirs = answers(outputs, self.reading)
        agree = same(self.answers, theirs, self.reading)
        scores = score(theirs, self.answers, outputs, self)
        name = self.reading.output
        spread = divergence(self.outputs[name], outputs[name], self.reading)
        return Evaluation(
            split=self.split,
            samples=len(self.scores),
            metric=metric_name(self),
            reference=self.accuracy,
            model=float(scores.mean()),
            drop=100 * float((self.scores - scores).mean()),
            interval=paired_interval(self.scores, scores),
            agreement=float(agree.mean()),
            error=_output_error(self.outputs, outputs, float(spread.mean())),
            flips=self._flips(theirs, agree),
        )

    def _flips(self, theirs: Answers, agree: NDArray[np.float64]) -> tuple[Flip, ...]:
        if self.reading.kind == "vector":
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
) -> Reference:
    """Run the original over a set and keep its answers.

    Args:
        model: The original.
        dataset: The samples.
        split: Their name in reports.
        reading: How the primary output is read.
        outputs: The original's outputs on this set, where they are known already.
        size: Samples in one run.
        metric: The user's metric, if any, and its name.
        progress: Told how many samples are done.
        spread: Who takes part.

    Returns:
        The reference.
    """
    got = outputs if outputs is not None else predict_all(model, dataset, size, progress, spread)
    mine = answers(got, reading)
    base = Reference(dataset, split, reading, got, mine, np.zeros(0), size, metric)
    scores = score(mine, mine, got, base)
    return Reference(dataset, split, reading, got, mine, scores, size, metric)


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
    if labels is not None and reference.reading.kind in ("logit", "classes"):
        return np.asarray(theirs.values == labels, dtype=np.float64)
    return same(original, theirs, reference.reading)


def metric_name(reference: Reference) -> str:
    """Return what the scores are called in reports."""
    if reference.metric is not None:
        return reference.metric[0]
    if reference.reading.kind == "vector":
        return "cosine"
    labelled = reference.labels is not None and reference.reading.kind != "sequence"
    return "accuracy" if labelled else "agreement"


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
        ref = values.astype(np.float64)
        difference = model[name].astype(np.float64) - ref
        largest = max(largest, float(np.abs(difference).max(initial=0.0)))
        total += float(np.abs(difference).sum())
        signal += float((ref**2).sum())
        noise += float((difference**2).sum())
        count += values.size
    snr = math.inf if noise == 0 else 10 * math.log10(max(signal, 1e-300) / noise)
    return OutputDistance(largest, total / max(1, count), min(snr, 999.0), spread)
