"""The two kinds of sets: image files, and tensors that are ready."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sprat.data.dataset import Sample
from sprat.data.preprocess import Preprocess
from sprat.errors import SampleError
from sprat.model.session import Feeds

#: Decoded pixels are kept up to this many bytes, since a search reads the same set many times.
_CACHE_BYTES = 512 << 20


class ImageSet:
    """Image files, read and preprocessed when asked for.

    Args:
        samples: The images, with their paths.
        classes: Names of the classes by index.
        preprocess: How an image becomes a sample.
    """

    def __init__(
        self, samples: Sequence[Sample], classes: tuple[str, ...], preprocess: Preprocess
    ) -> None:
        self._samples = tuple(samples)
        self._classes = classes
        self._preprocess = preprocess
        self._cache: dict[int, NDArray[np.uint8]] = {}
        self._cached = 0

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The images, sorted by name."""
        return self._samples

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes by index; empty without labels."""
        return self._classes

    @property
    def digest(self) -> str:
        """SHA-256 over names, contents, labels and the preprocessing."""
        return _digest(self._samples, repr(self._preprocess))

    def subset(self, indices: Sequence[int]) -> ImageSet:
        """Return some of the images, in the order given."""
        return ImageSet([self._samples[i] for i in indices], self._classes, self._preprocess)

    def batch(self, indices: Sequence[int]) -> Feeds:
        """Read, preprocess and stack some images.

        Raises:
            SampleError: A file is no image.
        """
        pixels = np.stack([self._pixels(i) for i in indices])
        return {self._preprocess.input: self._preprocess.normalize(pixels)}

    def _pixels(self, index: int) -> NDArray[np.uint8]:
        if index in self._cache:
            return self._cache[index]
        path = self._samples[index].path
        if path is None:
            raise SampleError("has no file.", where=self._samples[index].name)
        pixels = self._preprocess.pixels(path)
        if self._cached + pixels.nbytes <= _CACHE_BYTES:
            self._cache[index] = pixels
            self._cached += pixels.nbytes
        return pixels


class TensorSet:
    """Tensors that are ready for the model.

    Args:
        arrays: Input name to array, samples along axis 0.
        samples: One per row.
        classes: Names of the classes by index.
    """

    def __init__(
        self, arrays: dict[str, NDArray[Any]], samples: Sequence[Sample], classes: tuple[str, ...]
    ) -> None:
        self._arrays = arrays
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
    def digest(self) -> str:
        """SHA-256 over contents and labels."""
        return _digest(self._samples, ",".join(sorted(self._arrays)))

    def subset(self, indices: Sequence[int]) -> TensorSet:
        """Return some of the samples, in the order given."""
        rows = list(indices)
        arrays = {name: array[rows] for name, array in self._arrays.items()}
        return TensorSet(arrays, [self._samples[i] for i in rows], self._classes)

    def batch(self, indices: Sequence[int]) -> Feeds:
        """Take some rows."""
        rows = list(indices)
        return {name: array[rows] for name, array in self._arrays.items()}


def row_digests(arrays: dict[str, NDArray[Any]]) -> list[str]:
    """Return the SHA-256 of each row over all arrays, by name."""
    count = len(next(iter(arrays.values())))
    found = []
    for i in range(count):
        state = hashlib.sha256()
        for name in sorted(arrays):
            state.update(name.encode())
            state.update(np.ascontiguousarray(arrays[name][i]).tobytes())
        found.append(state.hexdigest())
    return found


def _digest(samples: Sequence[Sample], how: str) -> str:
    state = hashlib.sha256(how.encode())
    for sample in samples:
        state.update(f"{sample.name}\0{sample.digest}\0{sample.label}\n".encode())
    return state.hexdigest()


def file_samples(files: Sequence[tuple[Path, str, int | None]]) -> list[Sample]:
    """Hash files into samples.

    Args:
        files: Path, name and label of each.

    Raises:
        SampleError: A file cannot be read.
    """
    found = []
    for path, name, label in files:
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise SampleError(f"cannot be read: {error.strerror}.", where=str(path)) from error
        found.append(Sample(name, digest, label, path))
    return found
