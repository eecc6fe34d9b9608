"""CSV files of path, label and, if wanted, split."""

from __future__ import annotations

import csv
from pathlib import Path

from sprat.data.splits import NAMES
from sprat.errors import DataError, DataNotFoundError

_HEADERS = {"path", "file", "filename", "image"}


def read_csv(path: Path) -> dict[str, list[tuple[Path, str, str]]]:
    """Read a CSV of path,label[,split]; paths are relative to the CSV and stay in its folder.

    Args:
        path: The file, UTF-8, with or without a header.

    Returns:
        By split (``""`` without): path, name and label (``""`` without) of each image.

    Raises:
        DataError: A line is not understood or leaves the folder.
        DataNotFoundError: An image is missing, or there is none.
    """
    folder = path.resolve().parent
    found: dict[str, list[tuple[Path, str, str]]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for number, row in enumerate(csv.reader(file), start=1):
                if not row or (number == 1 and row[0].strip().lower() in _HEADERS):
                    continue
                split, entry = _row(row, folder, f"{path}, line {number}")
                found.setdefault(split, []).append(entry)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot be read as CSV: {error}.", where=str(path)) from error
    if not found:
        raise DataNotFoundError("holds no samples.", where=str(path))
    return found


def _row(row: list[str], folder: Path, where: str) -> tuple[str, tuple[Path, str, str]]:
    name = row[0].strip()
    label = row[1].strip() if len(row) > 1 else ""
    split = row[2].strip().lower() if len(row) > 2 else ""
    if split not in NAMES and split:
        raise DataError(
            f"has the unknown split {split!r}; known are train, val, test.", where=where
        )
    image = (folder / name).resolve()
    if not image.is_relative_to(folder):
        raise DataError(f"leaves the CSV's folder: {name!r}.", where=where)
    if not image.is_file():
        raise DataNotFoundError(f"there is no image {name!r}.", where=where)
    return NAMES.get(split, ""), (image, name, label)
