"""CSV files of path, label and, if wanted, split."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from sprat.data.folders import FEWER, MAX_FILES, Entry, Listing
from sprat.data.labels import alike
from sprat.data.splits import NAMES
from sprat.errors import DataError, DataNotFoundError
from sprat.model.nodes import printable

_HEADERS = frozenset({"path", "file", "filename", "filepath", "image", "img", "name"})
_MAX_FIELD = 4096


def read_csv(path: Path) -> Listing:
    """Read a CSV of path[,label[,split]].

    Args:
        path: The file, UTF-8, with or without a header. The paths in it are relative to its
            folder and may not leave it.

    Returns:
        The images.

    Raises:
        DataError: A line is not understood, leaves the folder or names an image again, or only
            some lines have a label, or a split.
        DataNotFoundError: An image is missing, or there is none.
    """
    folder = path.resolve().parent
    splits: dict[str, list[Entry]] = {}
    seen: set[Path] = set()
    labels: set[str] = set()
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                if not any(row) or (reader.line_num == 1 and _is_header(row, folder)):
                    continue
                split, entry = _entry(row, folder, where)
                if entry.path in seen:
                    raise DataError(f"names {entry.name!r} again.", where=where)
                if len(seen) >= MAX_FILES:
                    raise DataError(
                        f"has more than {MAX_FILES:,} lines.",
                        where=str(path),
                        hint=FEWER,
                    )
                seen.add(entry.path)
                labels |= {field.strip() for field in row[1:2]}
                splits.setdefault(split, []).append(entry)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot be read as CSV: {error}.", where=str(path)) from error
    return replace(_listing(splits, path), notes=alike(labels))


def _listing(splits: dict[str, list[Entry]], path: Path) -> Listing:
    if not splits:
        raise DataNotFoundError("holds no samples.", where=str(path))
    if "" in splits and len(splits) > 1:
        raise DataError("gives only some of its lines a split.", where=str(path))
    for split, entries in splits.items():
        if len({bool(entry.label) for entry in entries}) > 1:
            part = f" of {split}" if split else ""
            raise DataError(f"gives only some of the lines{part} a label.", where=str(path))
    ordered = {s: sorted(entries, key=lambda e: e.name) for s, entries in splits.items()}
    return Listing(ordered, frozenset(e.label for part in splits.values() for e in part) - {""})


def _is_header(row: list[str], folder: Path) -> bool:
    return row[0].strip().lower() in _HEADERS and not (folder / row[0].strip()).exists()


def _entry(row: list[str], folder: Path, where: str) -> tuple[str, Entry]:
    if len(row) > 3 or max(map(len, row)) > _MAX_FIELD:
        raise DataError(
            f"has {len(row)} columns or a very long one; path, label and split are read.",
            where=where,
        )
    name, label, split = (field.strip() for field in (*row, "", "")[:3])
    shown = printable(name)
    if split and split.lower() not in NAMES:
        raise DataError(
            f"has the unknown split {split!r}; known are train, val, test.", where=where
        )
    try:
        image = (folder / name).resolve()
        is_file = image.is_file()
    except (OSError, ValueError) as error:
        raise DataError(f"{shown[:80]!r} is no path ({error}).", where=where) from error
    if not image.is_relative_to(folder):
        raise DataError(f"leaves the CSV's folder: {shown!r}.", where=where)
    if not is_file:
        raise DataNotFoundError(
            f"there is no image {shown!r}.", where=where, hint="Paths are relative to the CSV."
        )
    return NAMES.get(split.lower(), ""), Entry(image, shown, printable(label))
