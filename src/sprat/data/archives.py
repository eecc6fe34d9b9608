"""Read ``.npz`` files from strangers."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sprat.data.tensors import Part
from sprat.errors import DataError

#: All arrays of all files together, unpacked.
MAX_BYTES = 4 << 30
_GIGABYTE = 1e9


def read_npz(files: Sequence[tuple[str, Path]]) -> list[Part]:
    """Read all arrays of some files.

    Args:
        files: Each with its split (``""`` for none); a split may have several.

    Returns:
        The arrays of each file.

    Raises:
        DataError: A file is damaged, holds pickles, or they unpack to more than 4 GiB.
    """
    total = 0
    for _, path in files:
        total += _unpacked_bytes(path)
        if total > MAX_BYTES:
            raise DataError(
                f"unpacks to {total / _GIGABYTE:.1f} GB; at most "
                f"{MAX_BYTES / _GIGABYTE:.1f} GB are read.",
                where=str(path),
            )
    return [_part(path, split) for split, path in files]


def _unpacked_bytes(path: Path) -> int:
    """Return what the arrays take, as their own headers claim: no more is ever allocated."""
    total = 0
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                with archive.open(entry) as file:
                    major, _ = np.lib.format.read_magic(file)
                    read = (
                        np.lib.format.read_array_header_1_0
                        if major == 1
                        else np.lib.format.read_array_header_2_0
                    )
                    shape, _, dtype = read(file)
                total += max(entry.file_size, dtype.itemsize * int(np.prod(shape, dtype=object)))
    except Exception as error:  # zip, zlib and numpy raise many unrelated classes
        raise _unreadable(path, error) from error
    return total


def _part(path: Path, split: str) -> Part:
    try:
        with np.load(path, allow_pickle=False) as content:
            return Part({name: content[name] for name in content.files}, split, str(path))
    except Exception as error:  # see _unpacked_bytes
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    return DataError(
        f"cannot be read as .npz ({reason}).",
        where=str(path),
        hint="Write it with numpy.savez, without Python objects.",
    )
