"""Open a model and its data once, and say aloud what was guessed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import onnx
from numpy.typing import NDArray

from sprat.data.dataset import Dataset
from sprat.data.labels import listed_classes
from sprat.data.options import DataOptions, read_options
from sprat.data.sources import Data, open_data
from sprat.errors import OptionError
from sprat.evaluate.constant import constant_answer
from sprat.evaluate.evaluate import Metric, Reference, labels_of, reference_on
from sprat.evaluate.outputs import Measurable, find_measurable
from sprat.evaluate.predict import predict_all
from sprat.evaluate.reading import Reading, answers, best_order, guess_reading
from sprat.files import is_there
from sprat.graph.precision import precision_note, runnable
from sprat.imported import importable, imported
from sprat.model.inspect import fixed_batch, tensor_infos
from sprat.model.load import load
from sprat.model.session import Feeds
from sprat.progress import Progress, silent
from sprat.record.schema import ReadingRecord
from sprat.spread import ALONE, Spread

#: The samples that a verdict is about.
Split = Literal["val", "test"]
#: Original accuracy within this of always giving the commonest class is near chance.
_NEAR_CHANCE = 0.05
#: With more classes the order that fits best is not looked for.
_MOST_CLASSES = 4096
#: The budget in points where none is said.
_USUAL_BUDGET = 1.0
#: Samples of the calibration set that ONNX Runtime's calibrators see.
CALIBRATION_SAMPLES = 64


NOTHING_SAID = DataOptions()


@dataclass(frozen=True)
class Setting:
    """A model with its data, ready to be measured.

    Attributes:
        path: The model's file.
        model: The original model.
        data: Its samples.
        options: How the data is read.
        reference: The original's answers on the choice split.
        notes: Guesses and warnings, in words.
        said: The options that were given, before those of ``sprat.toml``.
    """

    path: Path
    model: onnx.ModelProto
    data: Data
    options: DataOptions
    reference: Reference
    notes: tuple[str, ...]
    said: DataOptions = NOTHING_SAID

    def calibration(self, count: int = CALIBRATION_SAMPLES) -> list[Feeds]:
        """Return evenly spread calibration samples, each a batch of the model's own size."""
        source = self.data.calibration
        total = len(source.samples)
        taken = min(count, total)
        chosen = [i * total // taken for i in range(taken)]
        fixed = fixed_batch(self.model) or 1
        if fixed == 1 or source.is_ragged:
            return [source.batch([i] * fixed) for i in chosen]
        groups = [chosen[i : i + fixed] for i in range(0, len(chosen), fixed)]
        return [source.batch((g * fixed)[:fixed]) for g in groups]

    def on(
        self, split: Dataset, name: str, progress: Progress = silent, spread: Spread = ALONE
    ) -> Reference:
        """Return the original's answers on another split."""
        return reference_on(
            self.model,
            split,
            name,
            self.reference.reading,
            size=self.reference.size,
            metric=self.reference.metric,
            progress=progress,
            spread=spread,
            names=tuple(self.reference.outputs),
        )


def open_setting(
    path: Path,
    data: str | Path,
    options: DataOptions | None = None,
    *,
    limit: int | None = None,
    split: Split = "val",
    progress: Progress = silent,
    spread: Spread = ALONE,
) -> Setting:
    """Open a model and its data, and run the original over one split.

    Args:
        path: The model's file.
        data: Folder, CSV, npz or ``package.module:function``.
        options: Preprocessing and output options; they go before ``sprat.toml``.
        limit: At most so many samples of each split.
        split: ``val`` for choosing, ``test`` for a verdict.
        progress: Told how far the work is.
        spread: Who takes part.

    Returns:
        The setting.

    Raises:
        InputError: The model, the data or an option is wrong.
    """
    model, stand_in = runnable(load(path))
    place = Path(data) if is_there(Path(data)) else None
    chosen = read_options(path, place, options)
    found = open_data(
        data, tensor_infos(model), options=chosen, columns=_columns(model), limit=limit
    )
    if split not in get_args(Split):
        raise OptionError(f"must be val or test, got {split!r}.", where="--split")
    dataset = found.final if split == "test" else found.choice
    measurable = find_measurable(model, dataset, chosen.outputs)
    decides = _decides(model, measurable, dataset, chosen)
    names = measurable.names if chosen.metric or decides is None else (decides,)
    outputs = predict_all(model, dataset, measurable.size, progress, spread, names)
    reading, guesses = guess_reading(
        model,
        outputs,
        classes=dataset.classes,
        kind=chosen.kind,
        name=decides,
        threshold=chosen.threshold,
    )
    metric = (chosen.metric, _metric(chosen.metric)) if chosen.metric else None
    reference = reference_on(
        model, dataset, split, reading, outputs=outputs, size=measurable.size, metric=metric
    )
    if decides is not None and len(measurable.names) > 1:
        guesses += (
            f"of {len(measurable.names)} outputs the first, {decides!r}, decides (--output)",
        )
    guesses += measurable.notes
    precision = (note for note in (stand_in, precision_note(model)) if note)
    notes = (*found.notes, *precision, *guesses, *sanity(reference))
    return Setting(path, model, found, chosen, reference, notes, options or NOTHING_SAID)


def _decides(
    model: onnx.ModelProto, measurable: Measurable, dataset: Dataset, options: DataOptions
) -> str | None:
    """Return the output that alone decides; None where all that were selected or found do.

    Labels and a metric say which answer matters. Without them nothing does, so every output must
    hold.
    """
    first = measurable.names[0]
    if options.outputs or len(measurable.names) == 1:
        return None
    if options.metric is not None:
        return first
    if not dataset.classes:
        return None
    reading, _ = guess_reading(
        model,
        measurable.outputs,
        classes=dataset.classes,
        kind=options.kind,
        name=first,
        threshold=options.threshold,
    )
    return first if reading.kind not in ("sequence", "vector") else None


def found_options(setting: Setting) -> DataOptions:
    """Return what was found out of the data, so that the next command guesses nothing."""
    how, reading = setting.data.preprocess, setting.reference.reading
    known: dict[str, Any] = {} if how is None else {**asdict(how)}
    names = {f for f in DataOptions.model_fields if f not in ("kind", "name", "metric", "labels")}
    known = {name: value for name, value in known.items() if name in names and value is not None}
    labels = listed_classes(setting.options)
    return DataOptions(
        **known,
        labels=labels or None,
        kind=reading.kind,
        name=_names(setting.reference),
        threshold=reading.threshold if reading.kind == "logit" else None,
    )


def _names(reference: Reference) -> str | tuple[str, ...]:
    names = tuple(reading.output for reading in reference.reading.deciding)
    return names if len(names) > 1 else names[0]


def check_class(kind: str, where: str, hint: str = "") -> None:
    """Refuse a page that shows a class where the output names none.

    Args:
        kind: How the output is read.
        where: The option that asks for the page, or says the kind.
        hint: What to do about it.

    Raises:
        OptionError: The output is no class.
    """
    if kind not in ("logit", "classes"):
        raise OptionError(
            f"the page shows a class; this output is read as {kind}.", where=where, hint=hint
        )


def reading_record(reading: Reading) -> ReadingRecord:
    """Return how an output is read, as records and pages hold it."""
    return ReadingRecord(
        output=reading.output,
        kind=reading.kind,
        probability=reading.probability,
        threshold=reading.threshold,
    )


def _columns(model: onnx.ModelProto) -> int | None:
    dims = model.graph.output[0].type.tensor_type.shape.dim
    return dims[-1].dim_value if dims and dims[-1].dim_value > 1 else None


def sanity(reference: Reference) -> tuple[str, ...]:
    """Warn where the original is near chance, or where agreement with it would say nothing.

    Args:
        reference: The original's answers.

    Returns:
        Nothing, or warnings.
    """
    told = _not_numbers(reference)
    labels = labels_of(reference.dataset)
    if labels is None or not reference.is_labelled:
        return (*told, *_one_answer(reference))
    return (*told, *_near_chance(reference, labels))


def _near_chance(reference: Reference, labels: NDArray[np.int64]) -> tuple[str, ...]:
    """Warn where always giving the commonest class is as good as the original."""
    counts = np.bincount(labels)
    chance = float(counts.max() / counts.sum())
    if reference.metric is not None or reference.accuracy > chance + _NEAR_CHANCE:
        return ()
    said = reference.answers
    classes = int(max(labels.max(), said.values.max())) + 1
    warning = (
        f"WARNING: the original is right on {reference.accuracy:.1%} of the samples, no better "
        f"than always saying {_class(reference.dataset, int(counts.argmax()))!r} ({chance:.1%})."
    )
    if classes > _MOST_CLASSES or said.values.min() < 0:  # integers of any size
        return (warning,)
    order, fitted = best_order(said.values, labels, classes)
    if fitted > reference.accuracy + _NEAR_CHANCE:
        names = ", ".join(
            f"output {i} = {_class(reference.dataset, c)}" for i, c in enumerate(order[:10])
        )
        return (f"{warning} The class order is probably wrong: {names} would give {fitted:.1%}.",)
    return (
        f"{warning} The preprocessing is probably wrong (size, channel order, mean, std); the "
        f"best-fitting class order would give {fitted:.1%}.",
    )


def _one_answer(reference: Reference) -> tuple[str, ...]:
    """Warn where a model that has forgotten everything would agree on nearly every sample."""
    constant = constant_answer(reference)
    if constant is None or constant.samples < 2 or not constant.hides_in(_USUAL_BUDGET):
        return ()
    said = f"the original answers all {constant.samples} samples alike"
    alike = said if constant.drop <= 0 else f"{constant} samples"
    return (
        f"WARNING: {alike}, so that agreement with it says nothing. Give samples of every class, "
        "or another --threshold or --output-kind.",
    )


def _not_numbers(reference: Reference) -> tuple[str, ...]:
    """Tell outputs of the original that are NaN."""
    found = []
    for reading in reference.reading.deciding:
        wrong = ~answers(reference.outputs, reading).valid
        if count := int(wrong.sum()):
            found.append(
                f"WARNING: output {reading.output!r} of the original is NaN on {count} of "
                f"{len(wrong)} samples, the first {reference.first_of(wrong)!r}: they count as "
                "agreement with nothing"
            )
    return tuple(found)


def _class(dataset: Dataset, index: int) -> str:
    return dataset.classes[index] if index < len(dataset.classes) else str(index)


def _metric(name: str) -> Metric:
    """Import ``package.module:function``."""
    with importable(Path.cwd()):
        found: Metric = imported(name, f"metric {name!r}")
    return found
