"""Ready tensors, from ``.npz`` files or from a Python callable."""

from __future__ import annotations

import importlib
import inspect
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sprat.data.dataset import Sample
from sprat.data.sets import TensorSet, row_digests
from sprat.data.splits import NAMES
from sprat.errors import DataError, DataNotFoundError, OptionError, ShapeMismatchError
from sprat.model.inspect import TensorInfo

#: All arrays together, unpacked.
MAX_BYTES = 4 << 30
_LABELS = ("label", "labels")


@dataclass(frozen=True)
class Tensors:
    """Arrays with their samples.

    Attributes:
        arrays: Input name to array, samples along axis 0.
        samples: One per row; names are the rows' numbers.
        splits: The split of each row; ``""`` where it was not given.
        classes: Names of the classes by index.
        notes: Guesses, in words.
    """

    arrays: dict[str, NDArray[Any]]
    samples: tuple[Sample, ...]
    splits: tuple[str, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def rows(self) -> dict[str, list[Sample]]:
        """Return the samples by split."""
        found: dict[str, list[Sample]] = {}
        for sample, split in zip(self.samples, self.splits, strict=True):
            found.setdefault(split, []).append(sample)
        return found

    def take(self, samples: Sequence[Sample]) -> TensorSet:
        """Return some of the samples as a set."""
        rows = [int(sample.name) for sample in samples]
        arrays = {name: array[rows] for name, array in self.arrays.items()}
        return TensorSet(arrays, samples, self.classes)


def read_npz(files: Mapping[str, Path], inputs: Sequence[TensorInfo]) -> Tensors:
    """Read arrays named by the model's inputs, and if wanted ``label`` and ``split``.

    Args:
        files: Split (``""`` for none) to file.
        inputs: The model's inputs.

    Returns:
        The tensors.

    Raises:
        DataError: A file is damaged, too large, or holds pickles.
        ShapeMismatchError: An array is missing or does not fit its input.
    """
    parts = []
    for split, path in files.items():
        content = _unpacked(path)
        count = len(next(iter(content.values()))) if content else 0
        splits = content.pop("split", np.full(count, split))
        parts.append((content, [str(s) for s in np.ravel(splits)], str(path)))
    return _joined(parts, inputs)


def read_callable(name: str, inputs: Sequence[TensorInfo]) -> Tensors:
    """Take batches from ``package.module:function``.

    The function is called with ``"train"``, ``"val"`` and ``"test"`` if it takes an argument, else
    once. It yields batches: a dict of arrays by input name, or a pair of that and labels.

    Args:
        name: ``package.module:function``; the current folder is importable.
        inputs: The model's inputs.

    Returns:
        The tensors, all in memory.

    Raises:
        OptionError: It cannot be imported.
        DataError: It yields something else, or too much.
    """
    function = _imported(name)
    takes_split = bool(inspect.signature(function).parameters)
    parts = []
    for split in ("train", "val", "test") if takes_split else ("",):
        try:
            content = _stacked(function(split) if takes_split else function(), name)
        except (DataError, OptionError):
            raise
        except Exception as error:  # the user's own code raises what it likes
            raise DataError(
                f"the function failed: {type(error).__name__}: {error}", where=name
            ) from error
        if content:
            count = len(next(iter(content.values())))
            parts.append((content, [split] * count, name))
    return _joined(parts, inputs)


def _imported(name: str) -> Callable[..., Iterable[Any]]:
    module, _, function = name.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found: Callable[..., Iterable[Any]] = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise OptionError(f"cannot be imported: {error}.", where=name) from error
    finally:
        sys.path.pop(0)
    return found


def _stacked(batches: Iterable[Any], name: str) -> dict[str, NDArray[Any]]:
    lists: dict[str, list[NDArray[Any]]] = {}
    total = 0
    for batch in batches or ():
        feeds, labels = batch if isinstance(batch, tuple) else (batch, None)
        if not isinstance(feeds, Mapping):
            raise DataError(
                f"yields {type(feeds).__name__}; it must yield dicts of arrays by input name.",
                where=name,
            )
        rows = {**feeds, **({} if labels is None else {"label": labels})}
        for key, value in rows.items():
            array = np.asarray(value)
            total += array.nbytes
            lists.setdefault(key, []).append(array)
        if total > MAX_BYTES:
            raise DataError(f"yields more than {MAX_BYTES >> 30} GiB.", where=name)
    return {key: np.concatenate(arrays) for key, arrays in lists.items()}


def _unpacked(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise DataError(f"unpacks to {size / 1e9:.1f} GB; at most 4 are read.", where=str(path))
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    except DataError:
        raise
    except Exception as error:  # zip, zlib and numpy raise many unrelated classes
        raise DataError(f"cannot be read as .npz: {error}.", where=str(path)) from error


def _joined(
    parts: Sequence[tuple[dict[str, NDArray[Any]], list[str], str]],
    inputs: Sequence[TensorInfo],
) -> Tensors:
    if not parts:
        raise DataNotFoundError("there are no samples.", where="--data")
    arrays: dict[str, list[NDArray[Any]]] = {t.name: [] for t in inputs}
    labels: list[NDArray[Any]] = []
    splits: list[str] = []
    for content, names, where in parts:
        count = len(names)
        for tensor in inputs:
            arrays[tensor.name].append(_fitting(content, tensor, count, where))
        label = next((content[k] for k in _LABELS if k in content), None)
        if label is not None:
            labels.append(np.ravel(label))
        splits += [_split(name, where) for name in names]
    joined = {name: np.concatenate(found) for name, found in arrays.items()}
    index, classes = _indices(np.concatenate(labels)) if labels else (None, ())
    if index is not None and len(index) != len(splits):
        raise DataError(f"has {len(index)} labels for {len(splits)} samples.", where=parts[0][2])
    samples = tuple(
        Sample(str(i), digest, None if index is None else int(index[i]))
        for i, digest in enumerate(row_digests(joined))
    )
    return Tensors(joined, samples, tuple(splits), classes)


def _split(name: str, where: str) -> str:
    if name and name not in NAMES:
        raise DataError(f"has the unknown split {name!r} (train, val, test).", where=where)
    return NAMES.get(name, "")


def _fitting(
    content: dict[str, NDArray[Any]], tensor: TensorInfo, count: int, where: str
) -> NDArray[Any]:
    if tensor.name not in content:
        raise ShapeMismatchError(
            f"has no array {tensor.name!r}; it has {', '.join(content) or 'nothing'}.", where=where
        )
    array = content[tensor.name]
    fits = len(array.shape) == len(tensor.shape) and all(
        not isinstance(want, int) or want <= 0 or want == got
        for want, got in zip(tensor.shape[1:], array.shape[1:], strict=True)
    )
    if not fits or len(array) != count:
        raise ShapeMismatchError(
            f"{tensor.name!r} has shape {list(array.shape)}; the model wants "
            f"{list(tensor.shape)} with {count} samples along axis 0.",
            where=where,
        )
    cast = array.astype(tensor.dtype)
    same = np.issubdtype(array.dtype, np.floating) or np.array_equal(cast, array)
    if not same or (np.issubdtype(array.dtype, np.floating) and "int" in tensor.dtype):
        raise ShapeMismatchError(
            f"{tensor.name!r} is {array.dtype} and does not fit {tensor.dtype}.", where=where
        )
    return cast


def _indices(labels: NDArray[Any]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    if np.issubdtype(labels.dtype, np.integer):
        return labels.astype(np.int64), tuple(str(i) for i in range(int(labels.max()) + 1))
    names, index = np.unique(labels.astype(str), return_inverse=True)
    return index.astype(np.int64), tuple(str(n) for n in names)
