"""Which sample belongs to which split: given by the user, else by a hash of its content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from sprat.data.dataset import Sample

T = TypeVar("T")

#: Without any split: this share of the samples chooses, the rest is for the last look.
VAL_SHARE = 0.5
#: Cut from ``train`` for each of ``val`` and ``test`` that is missing.
FROM_TRAIN = 0.2

NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


def position(digest: str) -> float:
    """Return where a content stands between 0 and 1: the same content always at the same place."""
    return int(digest[:13], 16) / 16**13


def split_rows(
    given: Mapping[str, Sequence[Sample]],
) -> tuple[dict[str, list[Sample]], tuple[str, ...]]:
    """Complete the splits ``train``, ``val`` and ``test``.

    What the user gave stays; what is missing is cut by content hash, so that adding samples moves
    none of the others, and copies of one file land together.

    Args:
        given: Samples by split name; the name ``""`` holds samples without a split.

    Returns:
        Samples by split (``train`` may be missing), and what was cut, in words.
    """
    parts = {name: list(rows) for name, rows in given.items() if rows}
    notes: list[str] = []
    pool = parts.pop("", [])
    if pool:
        target = "train" if {"val", "test"} <= set(parts) else "val"
        parts[target] = [*parts.get(target, []), *pool]
    if "val" not in parts and "train" in parts:
        parts["train"], parts["val"] = _cut(parts["train"], 0.0, FROM_TRAIN)
        notes.append(f"val is cut from train: {FROM_TRAIN:.0%} by content hash")
        if "test" not in parts:
            parts["train"], parts["test"] = _cut(parts["train"], FROM_TRAIN, 2 * FROM_TRAIN)
            notes.append(f"test is cut from train: {FROM_TRAIN:.0%} by content hash")
    if "val" not in parts and "test" in parts:
        parts["test"], parts["val"] = _cut(parts["test"], 0.0, VAL_SHARE)
        notes.append("only test was given: half of it chooses, by content hash")
    if "test" not in parts and "val" in parts:
        parts["test"], parts["val"] = _cut(parts["val"], 0.0, VAL_SHARE)
        notes.append("one set was given: half chooses (val), half is for the last look (test)")
    notes += _leaks(parts)
    return {name: rows for name, rows in parts.items() if rows}, tuple(notes)


def limited(samples: Sequence[Sample], limit: int | None) -> list[Sample]:
    """Keep at most ``limit`` samples, chosen by content hash, in their own order."""
    if limit is None or len(samples) <= limit:
        return list(samples)
    kept = sorted(samples, key=lambda s: (s.digest[13:], s.name))[:limit]
    names = {s.name for s in kept}
    return [s for s in samples if s.name in names]


def _cut(rows: Sequence[Sample], low: float, high: float) -> tuple[list[Sample], list[Sample]]:
    inside = [s for s in rows if low <= position(s.digest) < high]
    return [s for s in rows if not low <= position(s.digest) < high], inside


def _leaks(parts: Mapping[str, Sequence[Sample]]) -> list[str]:
    if "test" not in parts:
        return []
    test = {s.digest for s in parts["test"]}
    return [
        f"WARNING: {shared} samples of {name} are also in test"
        for name in ("train", "val")
        if (shared := len(test & {s.digest for s in parts.get(name, ())}))
    ]
