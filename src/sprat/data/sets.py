"""The two kinds of sets: image files, and tensors that are ready."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sprat.data.dataset import Sample
from sprat.data.folders import UNREADABLE
from sprat.data.preprocess import Preprocess
from sprat.data.ragged import RaggedArray, Rows, batch, take
from sprat.errors import SampleError
from sprat.files import sha256_file
from sprat.model.session import Feeds


class PixelCache:
    """Decoded pixels by file, kept up to a bound, since a search reads the same set many times.

    Bytes a pixel instead of floats: grey images take a twelfth of what a model's input takes.
    One cache serves all splits and subsets of some data.

    Args:
        preprocess: How a file becomes pixels.
        limit_bytes: What all kept pixels may take; further images are read again at each use.
    """

    def __init__(self, preprocess: Preprocess, limit_bytes: int) -> None:
        self._preprocess = preprocess
        self._limit = limit_bytes
        self._free = limit_bytes
        self._kept: dict[Path, NDArray[np.uint8]] = {}

    def __reduce__(self) -> tuple[type[PixelCache], tuple[Preprocess, int]]:
        """Travel without the pixels: another process reads the files that it needs."""
        return PixelCache, (self._preprocess, self._limit)

    @property
    def preprocess(self) -> Preprocess:
        """How a file becomes pixels."""
        return self._preprocess

    def pixels(self, path: Path) -> NDArray[np.uint8]:
        """Return ``[H, W, C]`` as :meth:`Preprocess.pixels` does.

        Raises:
            SampleError: The file is no image.
        """
        kept = self._kept.get(path)
        if kept is not None:
            return kept
        pixels = self._preprocess.pixels(path)
        if pixels.nbytes <= self._free:
            self._free -= pixels.nbytes
            self._kept[path] = pixels
        return pixels


class ImageSet:
    """Image files, read and preprocessed when asked for, on the calling thread.

    Args:
        samples: The images; each has its path.
        classes: Names of the classes by index.
        cache: Reads them.
    """

    def __init__(
        self, samples: Sequence[Sample], classes: tuple[str, ...], cache: PixelCache
    ) -> None:
        self._samples = tuple(samples)
        self._paths = tuple(s.path for s in samples if s.path is not None)
        self._classes = classes
        self._cache = cache

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The images, sorted by name."""
        return self._samples

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes by index; empty without labels."""
        return self._classes

    @property
    def is_ragged(self) -> bool:
        """All images are brought to one size."""
        return False

    @property
    def digest(self) -> str:
        """SHA-256 over names, contents, labels and the preprocessing."""
        return _digest(self._samples, repr(self._cache.preprocess))

    def subset(self, indices: Sequence[int]) -> ImageSet:
        """Return some of the images, in the order given."""
        return ImageSet([self._samples[i] for i in indices], self._classes, self._cache)

    def at(self, paths: Sequence[Path]) -> ImageSet:
        """Return the same images, read from other places.

        Args:
            paths: One for each, with the same content.
        """
        moved = [replace(s, path=path) for s, path in zip(self._samples, paths, strict=True)]
        return ImageSet(moved, self._classes, self._cache)

    def batch(self, indices: Sequence[int]) -> Feeds:
        """Read, preprocess and stack some images.

        Raises:
            SampleError: A file is no image.
        """
        how = self._cache.preprocess
        return {how.input: how.normalize([self._cache.pixels(self._paths[i]) for i in indices])}


class TensorSet:
    """Tensors that are ready for the model.

    Args:
        arrays: Input name to samples along axis 0.
        samples: One per row.
        classes: Names of the classes by index.
    """

    def __init__(
        self, arrays: Mapping[str, Rows], samples: Sequence[Sample], classes: tuple[str, ...]
    ) -> None:
        self._arrays = dict(arrays)
        self._samples = tuple(samples)
        self._classes = classes

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The samples, in the order of the rows."""
        return self._samples

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes by index; empty without labels."""
        return self._classes

    @property
    def is_ragged(self) -> bool:
        """Whether samples have unlike shapes."""
        return any(
            isinstance(rows, RaggedArray) and len({row.shape for row in rows.rows}) > 1
            for rows in self._arrays.values()
        )

    @property
    def digest(self) -> str:
        """SHA-256 over contents and labels."""
        return _digest(self._samples, ",".join(sorted(self._arrays)))

    def subset(self, indices: Sequence[int]) -> TensorSet:
        """Return some of the samples, in the order given."""
        arrays = {name: take(rows, indices) for name, rows in self._arrays.items()}
        return TensorSet(arrays, [self._samples[i] for i in indices], self._classes)

    def batch(self, indices: Sequence[int]) -> Feeds:
        """Take some rows.

        Raises:
            ValueError: They have unlike shapes.
        """
        return {name: batch(rows, indices) for name, rows in self._arrays.items()}


def row_digests(arrays: Mapping[str, Rows]) -> list[str]:
    """Return the SHA-256 of each row over all arrays, by name."""
    count = len(next(iter(arrays.values())))
    states = [hashlib.sha256() for _ in range(count)]
    for name in sorted(arrays):
        rows = arrays[name]
        if isinstance(rows, np.ndarray):
            rows = np.ascontiguousarray(rows)
        for i, state in enumerate(states):
            row = np.ascontiguousarray(batch(rows, [i]))
            content = repr(row.tolist()).encode() if row.dtype == object else row.tobytes()
            state.update(f"{name}\0{row.dtype}{row.shape}\0".encode() + content)
    return [state.hexdigest() for state in states]


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a sample's file.

    Raises:
        SampleError: The file cannot be read.
    """
    try:
        return sha256_file(path)
    except OSError as error:
        raise SampleError(
            f"cannot be read ({error.strerror}).", where=str(path), hint=UNREADABLE
        ) from error


def _digest(samples: Sequence[Sample], how: str) -> str:
    state = hashlib.sha256(how.encode())
    for sample in samples:
        state.update(f"\0{sample.name}\0{sample.digest}\0{sample.label}".encode())
    return state.hexdigest()
