"""Samples that a model can eat, whatever they came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, overload

from sprat.model.session import Feeds


@dataclass(frozen=True)
class Sample:
    """One sample.

    Attributes:
        name: Path relative to the data folder, or the index in the array file.
        digest: SHA-256 of the content, which also decides the split of an unsplit set.
        label: Index of the class, which is also the index of the model's output; None without.
        path: The file, where it is an image; reports show it.
    """

    name: str
    digest: str
    label: int | None = None
    path: Path | None = None


class Dataset(Protocol):
    """An ordered set of samples."""

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The samples, sorted by name."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes by index; empty without labels."""

    @property
    def is_ragged(self) -> bool:
        """Whether samples have unlike shapes, so that not all of them can share a batch."""

    def batch(self, indices: Sequence[int]) -> Feeds:
        """Read, preprocess and stack some samples.

        Raises:
            SampleError: A sample cannot be read.
        """

    def subset(self, indices: Sequence[int]) -> Dataset:
        """Return some of the samples, in the order given."""

    @property
    def digest(self) -> str:
        """SHA-256 over the samples' digests, labels and the preprocessing."""


def batches(dataset: Dataset, size: int) -> Iterator[Feeds]:
    """Yield the whole set in batches of ``size``; the last one may be smaller."""
    count = len(dataset.samples)
    for start in range(0, count, size):
        yield dataset.batch(range(start, min(start + size, count)))


@dataclass(frozen=True)
class Batches(Sequence[Feeds]):
    """Batches that are made when they are asked for: a thousand images as floats fill 0.6 GB.

    Attributes:
        make: Makes a batch from its number.
        numbers: Of these batches, in order.
    """

    make: Callable[[int], Feeds]
    numbers: Sequence[int]

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Feeds: ...
    @overload
    def __getitem__(self, index: slice) -> Batches: ...
    def __getitem__(self, index: int | slice) -> Feeds | Batches:
        if isinstance(index, slice):
            return Batches(self.make, self.numbers[index])
        return self.make(self.numbers[index])
