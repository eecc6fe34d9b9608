"""Ready tensors: checked against the model's inputs, with their labels and splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sprat.data.dataset import Sample
from sprat.data.folders import FEWER
from sprat.data.labels import MAX_CLASSES, alike, class_indices, listed_classes
from sprat.data.options import DataOptions
from sprat.data.ragged import Rows, joined, take
from sprat.data.sets import TensorSet, row_digests
from sprat.data.splits import NAMES
from sprat.errors import DataError, DataNotFoundError, ShapeMismatchError
from sprat.model.inspect import TensorInfo

#: Names of the array of labels, and of the array of splits.
LABELS = ("label", "labels")
SPLIT = "split"
_MAX_ROWS = 2_000_000
#: Types that ONNX Runtime takes from numpy.
_NUMBERS = frozenset(
    {"bool", "float16", "float32", "float64"}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)


@dataclass(frozen=True)
class Part:
    """Arrays from one file, or from one call.

    Attributes:
        content: Arrays by name: inputs, labels, splits.
        split: Split of all rows; empty where the content tells, or no one.
        where: The file or function, for errors.
    """

    content: Mapping[str, NDArray[Any]]
    split: str
    where: str


@dataclass(frozen=True)
class Tensors:
    """Arrays with their samples.

    Attributes:
        arrays: Input name to samples along axis 0, which may have unlike shapes.
        splits: Samples by split; ``""`` is the split of those that have none. A sample's name is
            its row.
        classes: Names of the classes by index; empty without labels.
        notes: What was passed over, in words.
    """

    arrays: dict[str, Rows]
    splits: dict[str, list[Sample]]
    classes: tuple[str, ...]
    notes: tuple[str, ...]

    def take(self, samples: Sequence[Sample]) -> TensorSet:
        """Return some of the samples as a set."""
        rows = [int(sample.name) for sample in samples]
        arrays = {name: take(array, rows) for name, array in self.arrays.items()}
        return TensorSet(arrays, samples, self.classes)


def join(
    parts: Sequence[Part], inputs: Sequence[TensorInfo], options: DataOptions, columns: int | None
) -> Tensors:
    """Put parts together and check them.

    Args:
        parts: Arrays by the inputs' names with samples along axis 0; if wanted ``label`` or
            ``labels`` (indices or names) and ``split`` (names), one per sample.
        inputs: The model's inputs.
        options: May list the classes.
        columns: As in :func:`~sprat.data.labels.class_indices`.

    Returns:
        The tensors.

    Raises:
        DataNotFoundError: There are no samples.
        ShapeMismatchError: An array is missing, or does not fit its input without loss.
        DataError: Labels or splits are not understood, or only some samples have them.
        OptionError: A label is not among the listed classes.
    """
    counts = [_count(part, inputs) for part in parts]
    if not sum(counts):
        raise DataNotFoundError(
            "there are no samples.", where=parts[0].where if parts else "--data"
        )
    if sum(counts) > _MAX_ROWS:
        raise DataError(
            f"holds more than {_MAX_ROWS:,} samples.",
            where=parts[0].where,
            hint=FEWER,
        )
    pairs = list(zip(parts, counts, strict=True))
    arrays = {t.name: joined([_fitting(p, t, n) for p, n in pairs]) for t in inputs}
    splits = [name for part, n in pairs for name in _splits(part, n, inputs)]
    if len(set(splits)) > 1 and "" in splits:
        raise DataError("gives only some samples a split.", where=parts[0].where)
    labels, classes = _labels(pairs, inputs, options, columns)
    rows: dict[str, list[Sample]] = {}
    for i, digest in enumerate(row_digests(arrays)):
        rows.setdefault(splits[i], []).append(Sample(str(i), digest, labels[i]))
    return Tensors(arrays, rows, classes, (*_unused(parts, inputs), *alike(classes)))


def _count(part: Part, inputs: Sequence[TensorInfo]) -> int:
    for tensor in inputs:
        if tensor.name not in part.content:
            raise ShapeMismatchError(
                f"has no array {tensor.name!r}; it has {', '.join(part.content) or 'nothing'}.",
                where=part.where,
                hint="Name the arrays by the model's inputs.",
            )
    shapes = [part.content[t.name].shape for t in inputs]
    return shapes[0][0] if shapes and shapes[0] else 0


def _fitting(part: Part, tensor: TensorInfo, count: int) -> NDArray[Any]:
    array = part.content[tensor.name]
    if not tensor.shape:
        raise ShapeMismatchError(
            f"the model's input {tensor.name!r} is a single value for all samples.",
            where=part.where,
            hint="Samples need an axis in each input: make it a constant of the model first.",
        )
    fits = array.ndim == len(tensor.shape) and array.ndim > 0 and len(array) == count
    wanted = tensor.shape[1:]
    if not fits or any(
        got == 0 or (isinstance(want, int) and 0 < want != got)
        for want, got in zip(wanted, array.shape[1:], strict=True)
    ):
        raise ShapeMismatchError(
            f"{tensor.name!r} has shape {list(array.shape)}; the model wants "
            f"{[count, *wanted]}, samples along axis 0.",
            where=part.where,
        )
    return _cast(array, tensor, part.where)


def _cast(array: NDArray[Any], tensor: TensorInfo, where: str) -> NDArray[Any]:
    """Bring an array to the input's type if that changes no value."""
    if tensor.dtype == "string" and array.dtype.kind == "U":
        return array.astype(object)
    if tensor.dtype in _NUMBERS and array.dtype == np.dtype(tensor.dtype):
        return array
    if tensor.dtype in _NUMBERS and array.dtype.name in _NUMBERS:
        nan = array.dtype.kind == "f"
        with np.errstate(all="ignore"):  # values that do not fit are found below
            cast = array.astype(tensor.dtype, copy=False)
            back = cast.astype(array.dtype, copy=False)
        # Both: a wrapped integer comes back whole, a rounded one may compare equal as a float.
        if np.array_equal(back, array, equal_nan=nan) and np.array_equal(
            cast, array, equal_nan=nan
        ):
            return cast
    raise ShapeMismatchError(
        f"{tensor.name!r} is {array.dtype}, which does not become the input's {tensor.dtype} "
        "without loss.",
        where=where,
        hint=f"Save it as {tensor.dtype}.",
    )


def _splits(part: Part, count: int, inputs: Sequence[TensorInfo]) -> list[str]:
    if SPLIT in {t.name for t in inputs} or SPLIT not in part.content:
        return [part.split] * count
    names = [_text(name).lower() for name in _vector(part, SPLIT, count)]
    unknown = next((name for name in names if name and name not in NAMES), None)
    if unknown is not None:
        raise DataError(
            f"has the unknown split {unknown!r}; known are train, val, test.", where=part.where
        )
    return [NAMES.get(name, "") for name in names]


def _labels(
    pairs: Sequence[tuple[Part, int]],
    inputs: Sequence[TensorInfo],
    options: DataOptions,
    columns: int | None,
) -> tuple[list[int | None], tuple[str, ...]]:
    names = {t.name for t in inputs}
    found: list[list[Any] | None] = []
    for part, count in pairs:
        key = next((k for k in LABELS if k in part.content and k not in names), None)
        found.append(None if key is None else _vector(part, key, count).tolist())
    where = pairs[0][0].where
    values = [value for rows in found if rows is not None for value in rows]
    if not values:
        return [None] * sum(count for _, count in pairs), ()
    if all(isinstance(value, int) for value in values):
        index, classes = _ready(values, options, where), listed_classes(options)
        classes = classes or tuple(str(i) for i in range(max(index.values()) + 1))
    else:
        named, classes = class_indices(map(_text, values), options, columns, where)
        index = {value: named[_text(value)] for value in values}
    labels: list[int | None] = []
    for rows, (_, count) in zip(found, pairs, strict=True):
        labels += [None] * count if rows is None else [index[value] for value in rows]
    return labels, classes


def _ready(values: list[int], options: DataOptions, where: str) -> dict[Any, int]:
    """Check labels that are indices already."""
    highest = len(listed_classes(options)) or MAX_CLASSES
    wrong = next((value for value in values if not 0 <= value < highest), None)
    if wrong is not None:
        raise DataError(f"has the label {wrong}; labels are 0 to {highest - 1}.", where=where)
    if len(set(values)) == 1:
        raise DataError(
            f"has one label only, {values[0]}: accuracy would say nothing.",
            where=where,
            hint="Add samples of the other classes, or leave the labels out.",
        )
    return {value: int(value) for value in values}


def _vector(part: Part, key: str, count: int) -> NDArray[Any]:
    array = part.content[key]
    flat = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if flat.shape != (count,) or flat.dtype.kind not in "biufUS":
        raise DataError(
            f"{key!r} is {array.dtype}{list(array.shape)}; it must hold one entry for each of the "
            f"{count} samples.",
            where=part.where,
        )
    if flat.dtype.kind == "f" and np.array_equal(flat, np.floor(flat)) and np.isfinite(flat).all():
        return flat.astype(np.int64)
    return flat


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _unused(parts: Sequence[Part], inputs: Sequence[TensorInfo]) -> tuple[str, ...]:
    known = {*(t.name for t in inputs), *LABELS, SPLIT}
    extra = sorted({name for part in parts for name in part.content} - known)
    return (f"arrays that are no inputs are passed over: {', '.join(extra[:5])}",) if extra else ()
