"""Open any source of samples: a folder, a CSV, an ``.npz``, a Python callable."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sprat.data.dataset import Dataset
from sprat.data.options import DataOptions
from sprat.data.preprocess import Preprocess, make_preprocess
from sprat.data.sets import ImageSet, file_samples
from sprat.data.splits import NAMES, limited, split_rows
from sprat.data.tables import read_csv
from sprat.data.tensors import Tensors, read_callable, read_npz
from sprat.errors import DataError, DataNotFoundError, OptionError
from sprat.model.inspect import TensorInfo

_IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
#: Files that lie beside images on purpose.
_NOTES = {".toml", ".json", ".md", ".txt", ".csv", ".tsv"}
_MAX_FILES = 2_000_000


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
        columns: How many values the model's output has for a sample, where known: class folders
            named by numbers below it are its indices.
        limit: At most so many samples of each split.

    Returns:
        The data.

    Raises:
        DataError: There is nothing there, a sample cannot be read, or it does not fit.
        OptionError: An option does not fit.
    """
    text, path = str(source), Path(source)
    if not path.exists():
        if re.fullmatch(r"[\w.]+:\w+", text):
            return _tensors(text, "callable", read_callable(text, inputs), limit)
        raise DataNotFoundError(
            "there is no such folder or file.",
            where=text,
            hint="Give a folder, a CSV, an .npz, or package.module:function.",
        )
    if path.is_file() and path.suffix == ".npz":
        return _tensors(text, "npz", read_npz({"": path}, inputs), limit)
    if path.is_file() and path.suffix.lower() == ".csv":
        rows = read_csv(path)
        return _images(text, "csv", rows, [], inputs, options, columns, limit)
    if not path.is_dir():
        raise DataNotFoundError("is neither a folder, a CSV nor an .npz.", where=text)
    packed = {NAMES[p.stem]: p for p in sorted(path.glob("*.npz")) if p.stem in NAMES}
    if packed:
        return _tensors(text, "npz", read_npz(packed, inputs), limit)
    rows, notes = scan(path)
    return _images(text, "folder", rows, notes, inputs, options, columns, limit)


def scan(folder: Path) -> tuple[dict[str, list[tuple[Path, str, str]]], list[str]]:
    """Find the images of a folder.

    Links are not followed out of the folder; hidden files and files of other kinds are passed over.

    Args:
        folder: With or without split folders, with or without class folders.

    Returns:
        By split (``""`` without): path, name and class (``""`` without) of each image, sorted;
        and what was passed over, in words.

    Raises:
        DataNotFoundError: There is no image.
    """
    splits = {
        p.name: NAMES[p.name] for p in sorted(folder.iterdir()) if p.is_dir() and p.name in NAMES
    }
    roots = [(folder / name, split) for name, split in splits.items()] or [(folder, "")]
    found: dict[str, list[tuple[Path, str, str]]] = {}
    skipped = 0
    for root, split in roots:
        files, others = _walk(root, folder.resolve())
        skipped += others
        for path in files:
            parts = path.relative_to(root).parts
            label = parts[0] if len(parts) > 1 else ""
            found.setdefault(split, []).append((path, path.relative_to(folder).as_posix(), label))
    if not any(found.values()):
        kinds = ", ".join(sorted(_IMAGES))
        raise DataNotFoundError(f"holds no image ({kinds}).", where=str(folder))
    notes = [f"{skipped} files that are no images were passed over"] if skipped else []
    return found, notes


def _walk(root: Path, top: Path) -> tuple[list[Path], int]:
    files, others = [], 0
    for place, folders, names in os.walk(root, followlinks=False):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(names):
            path = Path(place) / name
            if name.startswith(".") or path.suffix.lower() in _NOTES:
                continue
            if path.suffix.lower() not in _IMAGES or (
                path.is_symlink() and not path.resolve().is_relative_to(top)
            ):
                others += 1
            else:
                files.append(path)
        if len(files) > _MAX_FILES:
            raise DataError(f"holds more than {_MAX_FILES:,} images.", where=str(root))
    return files, others


def _images(
    source: str,
    kind: str,
    rows: dict[str, list[tuple[Path, str, str]]],
    found_notes: list[str],
    inputs: Sequence[TensorInfo],
    options: DataOptions,
    columns: int | None,
    limit: int | None,
) -> Data:
    names = {label for part in rows.values() for _, _, label in part}
    index, classes = _class_indices(names, options, columns, source)
    given = {
        split: file_samples([(p, n, index.get(label)) for p, n, label in part])
        for split, part in rows.items()
    }
    parts, notes = split_rows(given)
    first = next(s.path for part in parts.values() for s in part if s.path is not None)
    preprocess, guesses = make_preprocess(inputs, options, first)
    sets: dict[str, Dataset] = {
        name: ImageSet(limited(part, limit), classes, preprocess) for name, part in parts.items()
    }
    return _data(source, kind, sets, classes, preprocess, (*found_notes, *notes, *guesses))


def _tensors(source: str, kind: str, tensors: Tensors, limit: int | None) -> Data:
    parts, notes = split_rows(tensors.rows())
    sets: dict[str, Dataset] = {
        name: tensors.take(limited(part, limit)) for name, part in parts.items()
    }
    return _data(source, kind, sets, tensors.classes, None, (*tensors.notes, *notes))


def _data(
    source: str,
    kind: str,
    sets: dict[str, Dataset],
    classes: tuple[str, ...],
    preprocess: Preprocess | None,
    notes: tuple[str, ...],
) -> Data:
    if "val" not in sets:
        count = sum(len(s.samples) for s in sets.values())
        raise DataNotFoundError(
            f"has {count} samples, too few to choose and to verify.",
            where=source,
            hint="Give at least a few dozen.",
        )
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


def _class_indices(
    names: set[str], options: DataOptions, columns: int | None, source: str
) -> tuple[dict[str, int], tuple[str, ...]]:
    if names == {""}:
        return {}, ()
    if "" in names:
        raise DataError(
            "has images beside its class folders.",
            where=source,
            hint="Put every image into a class folder, or none.",
        )
    if options.labels is not None:
        return _listed(names, Path(options.labels))
    if len(names) == 1:
        raise DataError(
            f"has one class only, {next(iter(names))!r}: accuracy would say nothing.",
            where=source,
            hint="Add the other classes, or put the images into a flat folder.",
        )
    if all(n.isdecimal() for n in names) and max(int(n) for n in names) < (columns or 0):
        width = max(int(n) for n in names) + 1
        return {n: int(n) for n in names}, tuple(str(i) for i in range(width))
    order = sorted(names, key=_natural)
    return {name: i for i, name in enumerate(order)}, tuple(order)


def _natural(name: str) -> tuple[Any, ...]:
    return tuple(int(p) if p.isdecimal() else p for p in re.split(r"(\d+)", name)), name


def _listed(names: set[str], path: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"cannot be read: {error}.", where=f"--labels {path}") from error
    classes = tuple(line.strip() for line in lines if line.strip())
    index = {name: i for i, name in enumerate(classes)}
    missing = sorted(names - set(index))
    if missing:
        raise OptionError(
            f"does not list {', '.join(missing[:5])}.",
            where=f"--labels {path}",
            hint="It must hold every class folder's name, one a line, in output order.",
        )
    return index, classes
