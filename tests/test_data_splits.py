"""Splits by content hash, limits, and the digest of a set."""

import hashlib

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sprat.data.dataset import Sample
from sprat.data.sets import TensorSet
from sprat.data.splits import limited, split_rows


def sample(content: int, name: str | None = None) -> Sample:
    digest = hashlib.sha256(str(content).encode()).hexdigest()
    return Sample(str(content) if name is None else name, digest)


def many(count: int, start: int = 0) -> list[Sample]:
    return [sample(i) for i in range(start, start + count)]


contents = st.lists(st.integers(0, 10**6), unique=True, max_size=60)


@pytest.mark.parametrize("given_split", ["", "train", "val", "test"])
@given(old=contents, new=contents)
def test_adding_files_moves_no_other(given_split: str, old: list[int], new: list[int]) -> None:
    before, notes = split_rows({given_split: [sample(i) for i in old]})
    assume(not any("too few" in note for note in notes))
    after, _ = split_rows({given_split: [sample(i) for i in sorted({*old, *new})]})
    for split, rows in before.items():
        assert {s.name for s in rows} <= {s.name for s in after.get(split, [])}


@given(contents)
def test_copies_fall_into_the_same_split(values: list[int]) -> None:
    rows = [s for i in values for s in (sample(i, f"a{i}"), sample(i, f"b{i}"))]
    parts, notes = split_rows({"": rows})
    for part in parts.values():
        names = {s.name for s in part}
        assert all(f"{'ba'[n[0] == 'b']}{n[1:]}" in names for n in names)
    assert not any("are also in" in note for note in notes)


@pytest.mark.parametrize(
    ("names", "shares"),
    [
        ({""}, {"val": 0.5, "test": 0.5}),
        ({"val"}, {"val": 0.5, "test": 0.5}),
        ({"test"}, {"val": 0.5, "test": 0.5}),
        ({"train"}, {"train": 0.6, "val": 0.2, "test": 0.2}),
        ({"train", "test"}, {"train": 0.8, "val": 0.2, "test": 1.0}),
        ({"train", "val"}, {"train": 1.0, "val": 0.5, "test": 0.5}),
        ({"val", "test"}, {"val": 1.0, "test": 1.0}),
        ({"train", "val", "test"}, {"train": 1.0, "val": 1.0, "test": 1.0}),
    ],
)
def test_missing_splits_are_cut_and_said(names: set[str], shares: dict[str, float]) -> None:
    count = 2000
    parts, notes = split_rows({n: many(count, 10_000 * i) for i, n in enumerate(sorted(names))})
    assert set(parts) == set(shares)
    for split, share in shares.items():
        assert abs(len(parts[split]) / count - share) < 0.04
    assert bool(notes) == (not {"val", "test"} <= names)
    everything = [s.name for part in parts.values() for s in part]
    assert len(everything) == len(set(everything)) == count * len(names)


def test_a_sample_in_two_splits_is_said_aloud() -> None:
    _, notes = split_rows({"train": many(5), "val": many(3, 4), "test": many(4, 3)})
    assert notes == (
        "WARNING: 1 samples of train are also in val",
        "WARNING: 2 samples of train are also in test",
        "WARNING: 3 samples of val are also in test",
    )


def test_no_samples_give_no_splits() -> None:
    assert split_rows({})[0] == {}


@given(contents, st.integers(1, 70), st.integers(1, 70))
def test_a_larger_limit_keeps_what_a_smaller_one_keeps(
    values: list[int], one: int, other: int
) -> None:
    rows = [sample(i) for i in values]
    small, large = (limited(rows, n) for n in sorted((one, other)))
    assert len(small) == min(len(rows), one, other)
    assert [s for s in rows if s in small] == small
    assert set(small) <= set(large)
    assert set(limited(rows[::-1], one)) == set(limited(rows, one))


def test_the_limit_does_not_lean_to_one_split() -> None:
    parts, _ = split_rows({"": many(2000)})
    kept = limited(many(2000), 400)
    assert abs(len(set(kept) & set(parts["val"])) - 200) < 50


def tensor_set(rows: list[Sample]) -> TensorSet:
    return TensorSet({"x": np.zeros((len(rows), 1), np.float32)}, rows, ())


@given(st.permutations(range(6)))
def test_the_digest_hears_the_order(order: list[int]) -> None:
    whole = tensor_set(many(6))
    assert (whole.subset(order).digest == whole.digest) == (order == sorted(order))
    assert whole.subset(order).subset(np.argsort(order).tolist()).digest == whole.digest


def test_the_digest_hears_names_contents_and_labels() -> None:
    base = sample(1)
    variants = [
        base,
        Sample("other", base.digest),
        Sample(base.name, sample(2).digest),
        Sample(base.name, base.digest, 0),
        Sample(base.name, base.digest, 1),
    ]
    assert len({tensor_set([s]).digest for s in variants}) == len(variants)
