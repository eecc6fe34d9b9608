"""Find the images of a folder: with or without splits, with or without classes."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from sprat.data.images import SUFFIXES
from sprat.data.labels import alike
from sprat.data.splits import NAMES
from sprat.errors import DataError, DataNotFoundError
from sprat.model.nodes import printable

MAX_FILES = 2_000_000
#: What to do about a file or folder that the system refuses.
UNREADABLE = "Check its permissions, or take it out of the data."
#: What to do about more than can be read.
FEWER = "Give fewer: a part of the samples is enough."


@dataclass(frozen=True)
class Entry:
    """An image that was found.

    Attributes:
        path: The file.
        name: Its path relative to the data folder, printable.
        label: Name of its class; empty without.
    """

    path: Path
    name: str
    label: str


@dataclass(frozen=True)
class Listing:
    """What a source holds.

    Attributes:
        splits: Images by split, sorted by name; ``""`` is the split of those that have none.
        classes: Names of the classes, those without images included.
        notes: What was passed over, in words.
    """

    splits: dict[str, list[Entry]]
    classes: frozenset[str]
    notes: tuple[str, ...] = ()


def scan(folder: Path) -> Listing:
    """Find the images of a folder.

    Folders named ``train``, ``val`` or ``test`` (or as in :data:`~sprat.data.splits.NAMES`, in any
    case) are splits. A folder in a split, or at the top where there are no splits, is a class, and
    files nested deeper in it belong to it; a class folder that is empty keeps its place among the
    classes. Links that leave the folder, linked folders, hidden files and files of other kinds
    are passed over.

    Args:
        folder: The folder.

    Returns:
        The images.

    Raises:
        DataNotFoundError: There is no image.
        DataError: A split has images beside its class folders, there are too many files, or a
            folder cannot be read.
    """
    walk = _Walk(folder)
    tops = [p for p in _folders(folder) if p.name.lower() in NAMES and walk.may_enter(p)]
    roots = [(p, NAMES[p.name.lower()]) for p in tops] or [(folder, "")]
    splits: dict[str, list[Entry]] = {}
    classes: set[str] = set()
    for root, split in roots:
        entries = walk.images(root)
        labels = {entry.label for entry in entries}
        if "" in labels and len(labels) > 1:
            stray = next(entry.name for entry in entries if not entry.label)
            raise DataError(
                f"has images beside its class folders, such as {stray}.",
                where=str(root),
                hint="Put every image into a class folder, or none.",
            )
        splits.setdefault(split, []).extend(entries)
        classes |= labels - {""}
        if "" not in labels:
            classes |= {_shown(p.name) for p in _folders(root) if not any(p.iterdir())}
    if not any(splits.values()):
        raise DataNotFoundError(
            f"holds no image ({', '.join(sorted(SUFFIXES))}).",
            where=str(folder),
            hint="; ".join(walk.notes()) or "Check the path.",
        )
    ordered = {s: sorted(entries, key=lambda e: e.name) for s, entries in splits.items()}
    beside = [p.name for p in _folders(folder) if tops and p not in tops]
    notes = (
        [f"folders beside the splits are passed over: {', '.join(beside[:5])}"] if beside else []
    )
    told = (*walk.notes(), *map(_shown, notes), *alike(walk.labels))
    return Listing(ordered, frozenset(classes), told)


class _Walk:
    """Walks below one folder and counts what it passes over."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._top = folder.resolve()
        self._passed: Counter[str] = Counter()
        self._count = 0
        #: Names of class folders as the system has them.
        self.labels: set[str] = set()

    def notes(self) -> tuple[str, ...]:
        """Return what was passed over, in words."""
        return tuple(f"passed over: {n} {what}" for what, n in sorted(self._passed.items()) if n)

    def may_enter(self, folder: Path) -> bool:
        """Say whether a folder is no link, or one that stays inside."""
        inside = not folder.is_symlink() or folder.resolve().is_relative_to(self._top)
        self._passed["links that leave the folder"] += not inside
        return inside

    def images(self, root: Path) -> list[Entry]:
        """Return the images below ``root``."""
        try:
            return self._below(root)
        except OSError as error:  # pathlib raises where a path is too long for the system
            _unreadable(error)

    def _below(self, root: Path) -> list[Entry]:
        found = []
        for place, folders, names in os.walk(root, onerror=_unreadable):
            kept = [f for f in sorted(folders) if not f.startswith(".")]
            links = [f for f in kept if Path(place, f).is_symlink()]
            self._passed["linked folders"] += len(links)
            folders[:] = [f for f in kept if f not in links]
            paths = (Path(place, name) for name in sorted(names))
            found += [self._entry(path, root) for path in paths if self._is_image(path)]
            self._count += len(names)
            if self._count > MAX_FILES:
                raise DataError(
                    f"holds more than {MAX_FILES:,} files.",
                    where=str(self._folder),
                    hint=FEWER,
                )
        return found

    def _is_image(self, path: Path) -> bool:
        if path.name.startswith("."):
            self._passed["hidden files"] += 1
        elif path.suffix.lower() not in SUFFIXES:
            self._passed["files that are no images"] += 1
        elif path.is_symlink() and not path.resolve().is_relative_to(self._top):
            self._passed["links that leave the folder"] += 1
        elif not path.is_file():  # a broken link, a pipe
            self._passed["files that are no images"] += 1
        else:
            return True
        return False

    def _entry(self, path: Path, root: Path) -> Entry:
        parts = path.relative_to(root).parts
        label = _shown(parts[0]) if len(parts) > 1 else ""
        self.labels |= {*parts[:-1][:1]}
        return Entry(path, _shown(path.relative_to(self._folder).as_posix()), label)


def _folders(folder: Path) -> list[Path]:
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        _unreadable(error)
    return [p for p in found if p.is_dir() and not p.name.startswith(".")]


def _unreadable(error: OSError) -> NoReturn:
    raise DataError(
        f"cannot be read ({error.strerror}).", where=str(error.filename), hint=UNREADABLE
    ) from error


def _shown(name: str) -> str:
    """Return a file's name as text that every encoding takes."""
    return printable(name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))
