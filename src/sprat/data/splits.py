"""Which sample belongs to which split: given by the user, else by a hash of its content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from sprat.data.dataset import Sample

#: Where one set must serve both: this share of it chooses, the rest is for the last look.
VAL_SHARE = 0.5
#: Cut from ``train`` for each of ``val`` and ``test`` that is missing.
FROM_TRAIN = 0.2

#: What users call the splits.
NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
#: Hexadecimal digits of a content's hash that decide its split; the others rank it for ``limit``.
_DIGITS = 13


def position(digest: str) -> float:
    """Return where a content stands between 0 and 1: the same content always at the same place.

    Args:
        digest: SHA-256 in hexadecimal.
    """
    return int(digest[:_DIGITS], 16) / (1 << 4 * _DIGITS)


def split_rows(
    given: Mapping[str, Sequence[Sample]],
) -> tuple[dict[str, list[Sample]], tuple[str, ...]]:
    """Complete the splits ``train``, ``val`` and ``test``.

    What the user gave stays; what is missing is cut by content hash, so that adding samples moves
    none of the others, and copies of one file land together.

    ====================  ==========================================================
    given                 becomes
    ====================  ==========================================================
    one set, val or test  val 50 %, test 50 %
    train                 train 60 %, val 20 %, test 20 %
    train, test           val is cut from train, 20 %
    train, val            test is cut from val, 50 %
    val, test             as given
    ====================  ==========================================================

    Where so few samples are given that a cut comes out empty, ``val`` has them all.

    Args:
        given: Samples by split name; the name ``""`` holds samples without a split, and is then
            the only one.

    Returns:
        Samples by split (``val`` is there if there is any sample; empty splits are left out), and
        in words what was cut and which samples are in two of the given splits.
    """
    parts = {name: list(rows) for name, rows in given.items() if rows}
    notes = _leaks(parts)
    if set(parts) <= {""} or (len(parts) == 1 and "train" not in parts):
        whole = next(iter(parts.values()), [])
        parts = dict(zip(("val", "test"), _cut(whole, 0, VAL_SHARE), strict=True))
        notes.append(
            f"one set was given: {VAL_SHARE:.0%} of it chooses (val), the rest is for the last "
            "look (test), by content hash"
        )
    if "val" not in parts and "train" in parts:
        wants_test = "test" not in parts
        parts["val"], parts["train"] = _cut(parts["train"], 0, FROM_TRAIN)
        notes.append(f"val is cut from train: {FROM_TRAIN:.0%}, by content hash")
        if wants_test:
            parts["test"], parts["train"] = _cut(parts["train"], FROM_TRAIN, 2 * FROM_TRAIN)
            notes.append(f"test is cut from train: {FROM_TRAIN:.0%}, by content hash")
    if "test" not in parts and "val" in parts:
        parts["val"], parts["test"] = _cut(parts["val"], 0, VAL_SHARE)
        notes.append(f"test is cut from val: {1 - VAL_SHARE:.0%}, by content hash")
    parts = {name: rows for name, rows in parts.items() if rows}
    if parts and not {"val", "test"} <= set(parts):
        if "val" not in parts:
            parts["val"] = parts.pop("train" if "train" in parts else "test")
        notes.append("WARNING: too few samples to split: the same ones choose and verify")
    return parts, tuple(notes)


def limited(samples: Sequence[Sample], limit: int | None) -> list[Sample]:
    """Keep at most ``limit`` samples, chosen by content hash, in their own order.

    A larger limit keeps all that a smaller one keeps.
    """
    if limit is None or len(samples) <= limit:
        return list(samples)
    ranked = sorted(samples, key=lambda s: (s.digest[_DIGITS:], s.name))
    names = {s.name for s in ranked[:limit]}
    return [s for s in samples if s.name in names]


def _cut(rows: Sequence[Sample], low: float, high: float) -> tuple[list[Sample], list[Sample]]:
    """Return what stands from ``low`` to ``high``, and the rest."""
    inside = [low <= position(s.digest) < high for s in rows]
    return (
        [s for s, is_in in zip(rows, inside, strict=True) if is_in],
        [s for s, is_in in zip(rows, inside, strict=True) if not is_in],
    )


def _leaks(parts: Mapping[str, Sequence[Sample]]) -> list[str]:
    contents = {name: {s.digest for s in rows} for name, rows in parts.items()}
    return [
        f"WARNING: {shared} samples of {one} are also in {other}"
        for one, other in combinations(sorted(contents, key=_ORDER.index), 2)
        if (shared := len(contents[one] & contents[other]))
    ]


_ORDER = ("", "train", "val", "test")
