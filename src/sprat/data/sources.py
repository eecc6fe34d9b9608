"""Open any source of samples: a folder, a CSV, an ``.npz``, a Python callable."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sprat.data.archives import read_npz
from sprat.data.callables import read_callable
from sprat.data.dataset import Dataset, Sample
from sprat.data.folders import Entry, Listing, scan
from sprat.data.guess import make_preprocess
from sprat.data.labels import alike, class_indices, listed_classes
from sprat.data.options import DataOptions
from sprat.data.preprocess import Preprocess
from sprat.data.sets import ImageSet, PixelCache, file_digest
from sprat.data.splits import NAMES, limited, split_rows
from sprat.data.tables import read_csv
from sprat.data.tensors import Part, join
from sprat.errors import DataNotFoundError, OptionError
from sprat.files import check_name
from sprat.model.inspect import TensorInfo

#: What the decoded pixels of all splits together may take.
CACHE_BYTES = 512 << 20


@dataclass(frozen=True)
class Data:
    """The samples of a run, by role.

    Attributes:
        source: What the user gave.
        kind: ``folder``, ``csv``, ``npz`` or ``callable``.
        train: For calibration; None where there is none.
        val: For choosing.
        test: For one last look; None where there is none.
        classes: Names of the classes by index; empty without labels.
        preprocess: How images are read; None for tensors.
        notes: Guesses, in words.
    """

    source: str
    kind: str
    train: Dataset | None
    val: Dataset
    test: Dataset | None
    classes: tuple[str, ...]
    preprocess: Preprocess | None
    notes: tuple[str, ...]

    @property
    def calibration(self) -> Dataset:
        """What statistics are taken from: ``train``, else ``val``."""
        return self.train if self.train is not None else self.val

    @property
    def choice(self) -> Dataset:
        """What decides between candidates: ``val``."""
        return self.val

    @property
    def final(self) -> Dataset:
        """What is looked at once: ``test``, else ``val``."""
        return self.test if self.test is not None else self.val


def open_data(
    source: str | Path,
    inputs: Sequence[TensorInfo],
    *,
    options: DataOptions,
    columns: int | None = None,
    limit: int | None = None,
) -> Data:
    """Open samples for a model.

    Args:
        source: A folder of images (class folders, with or without ``train``, ``val``, ``test``;
            or flat), a folder of ``train.npz`` …, a CSV of path,label[,split], an ``.npz``, or
            ``package.module:function``.
        inputs: The model's inputs.
        options: Preprocessing and labels.
        columns: How many values the model's output has for a sample, where known: classes named
            by numbers below it are its indices.
        limit: At most so many samples of each split, at least 1.

    Returns:
        The data.

    Raises:
        DataError: There is nothing there, a sample cannot be read, or it does not fit.
        OptionError: An option does not fit.
    """
    if limit is not None and limit < 1:
        raise OptionError(f"is {limit}, must be at least 1.", where="--limit")
    check_name(source)
    text = str(source)
    kind, found = _read(text)
    if isinstance(found, Listing):
        return _images(text, kind, found, inputs, options, columns, limit)
    tensors = join(found, inputs, options, columns)
    parts, notes = split_rows(tensors.splits)
    sets: dict[str, Dataset] = {
        name: tensors.take(limited(part, limit)) for name, part in parts.items()
    }
    return _data(text, kind, sets, tensors.classes, None, (*tensors.notes, *notes))


def _read(source: str) -> tuple[str, Listing | list[Part]]:
    path = Path(source)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError):  # no name of a file, so at most the name of a function
        is_folder = is_file = False
    suffix = path.suffix.lower()
    if is_folder:
        npz = [p for p in sorted(path.glob("*")) if p.suffix.lower() == ".npz"]
        packed = [(NAMES[p.stem.lower()], p) for p in npz if p.stem.lower() in NAMES]
        return ("npz", read_npz(packed)) if packed else ("folder", scan(path))
    if is_file and suffix == ".npz":
        return "npz", read_npz([("", path)])
    if is_file and suffix == ".csv":
        return "csv", read_csv(path)
    if not is_file and re.fullmatch(r"[\w.]+:\w+", source):
        return "callable", read_callable(source)
    raise DataNotFoundError(
        "is neither a folder, a .csv nor an .npz." if is_file else "there is no such data.",
        where=source,
        hint="Give a folder, a CSV, an .npz, or package.module:function.",
    )


def _images(
    source: str,
    kind: str,
    listing: Listing,
    inputs: Sequence[TensorInfo],
    options: DataOptions,
    columns: int | None,
    limit: int | None,
) -> Data:
    index: dict[str, int] = {}
    classes: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()
    if listing.classes:
        index, classes = class_indices(listing.classes, options, columns, source)
        listed = alike(listed_classes(options))
    found = {
        split: [_sample(entry, index) for entry in entries]
        for split, entries in listing.splits.items()
    }
    parts, notes = split_rows(found)
    paths = [entry.path for entries in listing.splits.values() for entry in entries]
    preprocess, guesses = make_preprocess(inputs, options, paths)
    cache = PixelCache(preprocess, CACHE_BYTES)
    sets: dict[str, Dataset] = {
        name: ImageSet(limited(part, limit), classes, cache) for name, part in parts.items()
    }
    return _data(
        source, kind, sets, classes, preprocess, (*listing.notes, *listed, *notes, *guesses)
    )


def _sample(entry: Entry, index: dict[str, int]) -> Sample:
    return Sample(entry.name, file_digest(entry.path), index.get(entry.label), entry.path)


def _data(
    source: str,
    kind: str,
    sets: dict[str, Dataset],
    classes: tuple[str, ...],
    preprocess: Preprocess | None,
    notes: tuple[str, ...],
) -> Data:
    return Data(
        source,
        kind,
        sets.get("train"),
        sets["val"],
        sets.get("test"),
        classes,
        preprocess,
        notes,
    )
