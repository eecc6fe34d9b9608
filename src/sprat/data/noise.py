"""Random samples that fit a model's inputs: enough to compare outputs, never to calibrate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sprat.data.dataset import Sample
from sprat.errors import ShapeMismatchError
from sprat.model.inspect import TensorInfo
from sprat.model.session import Feeds

_MAX_ELEMENTS = 1 << 26


@dataclass(frozen=True)
class Noise:
    """Standard normal noise (small integers for integer inputs), seeded by the sample's index.

    Attributes:
        inputs: The model's inputs.
        indices: Seeds of the samples.
        seed: Seed of the set.
        dynamic: What dynamic dimensions other than the first become.
    """

    inputs: tuple[TensorInfo, ...]
    indices: tuple[int, ...]
    seed: int = 0
    dynamic: int = 1

    @property
    def samples(self) -> tuple[Sample, ...]:
        """One per index."""
        return tuple(Sample(f"noise-{i}", f"{self.seed}-{i}") for i in self.indices)

    @property
    def classes(self) -> tuple[str, ...]:
        """No classes."""
        return ()

    @property
    def is_ragged(self) -> bool:
        """All samples have one shape."""
        return False

    @property
    def digest(self) -> str:
        """What the set is made from."""
        return f"noise-{self.seed}-{self.indices}"

    def subset(self, indices: Sequence[int]) -> Noise:
        """Return some of the samples."""
        return Noise(self.inputs, tuple(self.indices[i] for i in indices), self.seed, self.dynamic)

    def batch(self, indices: Sequence[int]) -> Feeds:
        """Make some samples.

        Raises:
            ShapeMismatchError: An input is absurdly large, or of a type without numbers.
        """
        rows = [self._sample(self.indices[i]) for i in indices]
        return {t.name: np.stack([row[t.name] for row in rows]) for t in self.inputs}

    def _sample(self, index: int) -> Feeds:
        random = np.random.default_rng((self.seed, index))
        return {tensor.name: _values(tensor, random, self.dynamic) for tensor in self.inputs}


def _values(tensor: TensorInfo, random: np.random.Generator, dynamic: int) -> NDArray[np.generic]:
    shape = tuple(d if isinstance(d, int) and d > 0 else dynamic for d in tensor.shape[1:])
    if int(np.prod(shape, dtype=object) if shape else 1) > _MAX_ELEMENTS:
        raise ShapeMismatchError(
            f"the input has the shape {list(tensor.shape)}, too large for random samples.",
            where=tensor.name,
            hint="Give real samples with --data.",
        )
    kind = {"float32": np.float32, "float16": np.float16, "float64": np.float64}.get(tensor.dtype)
    if kind is not None:
        return random.standard_normal(shape).astype(kind)
    if tensor.dtype.startswith(("int", "uint")):
        return random.integers(0, 2, shape).astype(tensor.dtype)
    if tensor.dtype == "bool":
        return random.integers(0, 2, shape).astype(np.bool_)
    raise ShapeMismatchError(
        f"random samples of type {tensor.dtype} cannot be made.",
        where=tensor.name,
        hint="Give real samples with --data.",
    )
