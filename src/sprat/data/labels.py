"""From names of classes to indices of the model's output."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sprat.data.options import DataOptions, read_lines
from sprat.errors import DataError, OptionError
from sprat.model.nodes import printable

#: Class indices are below this; a file of ready labels could say anything.
MAX_CLASSES = 1 << 20
_MAX_NAME = 255
#: Groups of names that look alike, and characters of them, in a warning.
_MOST_TWINS, _MAX_NOTE = 5, 300


def listed_classes(options: DataOptions) -> tuple[str, ...]:
    """Return the class names in output order that the options list; empty without.

    Raises:
        OptionError: The file cannot be read, or a name stands there twice.
    """
    given = options.labels
    if given is None:
        return ()
    names = tuple(read_lines(Path(given))) if isinstance(given, str) else given
    commonest, count = Counter(names).most_common(1)[0] if names else ("", 0)
    if count != 1:
        what = f"lists {commonest!r} {count} times." if names else "lists no class."
        raise OptionError(what, where=_place(given))
    return names


def class_indices(
    names: Iterable[str], options: DataOptions, columns: int | None, where: str
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Give each class name its index in the model's output.

    Args:
        names: All names that occur.
        options: May list the names in output order.
        columns: How many values the output has for a sample, where known; names that are numbers
            below it are the indices themselves. Numbers below 2 are, in any case.
        where: The data, for errors.

    Returns:
        Index by name, and the names by index. Names that are no indices are in natural order: a2
        before a10.

    Raises:
        DataError: There is only one class.
        OptionError: A name is not listed.
    """
    found = sorted(set(names), key=_natural)
    listed = listed_classes(options)
    if listed:
        index = {name: i for i, name in enumerate(listed)}
        missing = [name for name in found if name not in index]
        if missing:
            raise OptionError(
                f"does not list {', '.join(missing[:5])}{' …' if missing[5:] else ''}.",
                where=_place(options.labels),
                hint="It must hold the name of each class, in output order.",
            )
        return index, listed
    if len(found) == 1:
        raise DataError(
            f"has one class only, {found[0]!r}: accuracy would say nothing.",
            where=where,
            hint="Add the other classes, or put the images into a flat folder without classes.",
        )
    if all(_is_index(name) for name in found) and len({int(n) for n in found}) == len(found):
        highest = max(int(name) for name in found)
        if highest < max(columns or 0, 2):
            return {name: int(name) for name in found}, tuple(str(i) for i in range(highest + 1))
    return {name: i for i, name in enumerate(found)}, tuple(found)


def alike(names: Iterable[str]) -> tuple[str, ...]:
    """Warn of class names that a reader cannot tell apart.

    Args:
        names: As they were given: some become equal when they are made printable, some differ in
            the composition of their characters only (NFC and NFD).

    Returns:
        Nothing, or one warning.
    """
    groups: dict[str, set[str]] = defaultdict(set)
    for name in names:
        text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        groups[printable(unicodedata.normalize("NFC", text))].add(name)
    twins = [", ".join(sorted(map(ascii, group))) for group in groups.values() if len(group) > 1]
    if not twins:
        return ()
    shown = "; ".join(sorted(twins)[:_MOST_TWINS])
    return (f"WARNING: the classes {shown[:_MAX_NOTE]} look alike: rename or join them.",)


def _is_index(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) < 8


def _natural(name: str) -> tuple[Any, ...]:
    parts = re.split(r"([0-9]+)", name[:_MAX_NAME])
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts)), name


def _place(labels: str | tuple[str, ...] | None) -> str:
    return f"--labels {labels}" if isinstance(labels, str) else "labels"
