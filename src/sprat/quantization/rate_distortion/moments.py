"""Second moments of the layers' inputs, streamed with bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper

from sprat.data.dataset import Batches
from sprat.model.session import Feeds, open_session, run, samples_in
from sprat.parallel import ordered_map
from sprat.progress import Progress, silent
from sprat.quantization.rate_distortion.layers import Layer
from sprat.spread import Task

#: Positions of each sample that enter the moment of a layer.
POSITIONS = 64
_BLOCK = 256
#: A group with less than this share of the usual group's energy is idle.
_IDLE = 1e-6


@dataclass(frozen=True)
class Moments:
    """The first two moments of a layer's input vectors.

    Attributes:
        mean: float32 ``[groups, columns]``.
        second: ``E[x x^T]``, float32 ``[groups, columns, columns]``.
        vectors: How many they are of.
        samples: How many different samples these come from: positions of one are alike.
    """

    mean: NDArray[np.float32]
    second: NDArray[np.float32]
    vectors: int
    samples: int = 0

    def merged(self, others: Moments) -> Moments:
        """Return the moments of these vectors and others together.

        Both second moments are used up: a wide layer's takes a tenth of a gigabyte.
        """
        total = self.vectors + others.vectors
        mine, theirs = np.float32(self.vectors / total), np.float32(others.vectors / total)
        np.multiply(self.second, mine, out=self.second)
        np.multiply(others.second, theirs, out=others.second)
        np.add(self.second, others.second, out=self.second)
        mean = mine * self.mean + theirs * others.mean
        return Moments(mean, self.second, total, self.samples + others.samples)


def awake(moments: Moments) -> NDArray[np.float32]:
    """Return the second moments, those of idle groups as if they were active now and then.

    A group whose input was zero in all of ``n`` samples may be active in ``3 / n`` of all others
    (the rule of three, a 95 % bound: Hanley and Lippman-Hand 1983), so it gets that share of the
    usual group's energy, the same in each column. Else its weights would cost nothing to erase.

    Args:
        moments: Of a layer of one group or more.
    """
    second = moments.second
    energies = np.einsum("gii->gi", second).mean(axis=1)
    usual = float(energies.mean())
    idle = energies <= _IDLE * usual
    if len(second) == 1 or not idle.any():
        return second
    least = usual * min(1.0, 3 / max(1, moments.samples))
    out = second.copy()
    out[idle] = np.float32(least) * np.eye(second.shape[-1], dtype=np.float32)
    return out


def input_moments(
    model: onnx.ModelProto,
    layers: Sequence[Layer],
    samples: Sequence[Feeds],
    *,
    seed: int = 0,
    among: Sequence[Layer] = (),
    progress: Progress = silent,
) -> dict[str, Moments]:
    """Compute the mean and ``H = E[x x^T]`` of every layer's input vectors.

    Only one batch's activations are held at a time. The sums are formed in the order of the
    batches, so they do not depend on the number of cores.

    Args:
        model: The float model.
        layers: Its layers.
        samples: Calibration batches.
        seed: Chooses the positions.
        among: All layers whose inputs the runtime delivers, where ``layers`` are some of them:
            what it delivers decides what it fuses, and so may decide the last bits.
        progress: Told how many batches are done.

    Returns:
        Layer name to its moments.
    """
    import scipy.linalg.blas  # noqa: F401 - a limit of threads holds only for what is loaded

    sums = {layer.name: _nothing(layer) for layer in layers}
    seen: set[bytes] = set()

    def noted(number: int) -> Feeds:
        feeds = samples[number]
        seen.update(_digests(feeds))
        return feeds

    counted = Batches(noted, range(len(samples)))
    for i, values in enumerate(layer_inputs(model, among or layers, counted)):

        def add(layer: Layer, values: dict[str, Any] = values) -> Moments:
            x = values[layer.source]
            return _added(sums[layer.name], layer.patches(x, POSITIONS, seed))

        for layer, total in zip(layers, ordered_map(add, layers), strict=True):
            sums[layer.name] = total
        progress("measuring the layers' inputs", i + 1, len(samples))
    return {name: replace(_averaged(total), samples=len(seen)) for name, total in sums.items()}


def _digests(feeds: Feeds) -> set[bytes]:
    """Return a digest of each sample: one that fills a batch by itself is one sample."""
    count = samples_in(feeds)
    inputs = [values for _, values in sorted(feeds.items()) if values.ndim and len(values) == count]
    found = set()
    for i in range(count):
        digest = blake2b(digest_size=16)
        for values in inputs:
            digest.update(values[i].tobytes())
        found.add(digest.digest())
    return found


def layer_inputs(
    model: onnx.ModelProto, layers: Sequence[Layer], samples: Sequence[Feeds]
) -> Iterator[dict[str, Any]]:
    """Run a model over batches; yield each batch's tensors that the layers read, by name."""
    return LayerInputs(model, tuple(layers), samples)(range(len(samples)))


@dataclass(frozen=True, eq=False)
class LayerInputs(Task[range, dict[str, Any]]):
    """Yields the tensors that layers read, by name, for batches that are given by their numbers.

    Attributes:
        model: The model.
        layers: Its layers.
        samples: All batches.
    """

    model: onnx.ModelProto
    layers: tuple[Layer, ...]
    samples: Sequence[Feeds]

    @cached_property
    def session(self) -> ort.InferenceSession:
        """What runs the model."""
        return open_session(exposed(self.model, sorted({layer.source for layer in self.layers})))

    def __call__(self, numbers: range) -> Iterator[dict[str, Any]]:
        """Yield each batch's tensors."""
        sources = {layer.source for layer in self.layers}
        inner = sorted(sources - {value.name for value in self.model.graph.input})
        session = self.session

        def read(number: int) -> dict[str, Any]:
            feeds = self.samples[number]
            given = {name: values for name, values in feeds.items() if name in sources}
            return {**given, **run(session, feeds, inner)}

        yield from ordered_map(read, numbers)


def _nothing(layer: Layer) -> Moments:
    groups, columns = layer.groups, layer.columns
    mean = np.zeros((groups, columns), np.float32)
    return Moments(mean, np.zeros((groups, columns, columns), np.float32), 0)


def _added(total: Moments, vectors: NDArray[np.float32]) -> Moments:
    """Add to the lower triangles in place: a wide layer's moment takes a tenth of a gigabyte."""
    from scipy.linalg.blas import ssyrk

    total.mean[...] += vectors.sum(axis=1)
    for second, rows in zip(total.second, vectors, strict=True):
        # BLAS counts columns first, so that its upper triangle is our lower one.
        ssyrk(1.0, rows.T, beta=1.0, c=second.T, lower=0, overwrite_c=1)
    count = total.vectors + vectors.shape[1]
    return Moments(total.mean, total.second, count)


def _averaged(total: Moments) -> Moments:
    """Divide, and fill the upper triangles from the lower ones, in place."""
    count = np.float32(max(1, total.vectors))
    np.divide(total.mean, count, out=total.mean)
    np.divide(total.second, count, out=total.second)
    for second in total.second:
        _mirror(second)
    return total


def _mirror(square: NDArray[np.float32]) -> None:
    """Fill the upper triangle from the lower one, in place and block by block."""
    for first in range(0, len(square), _BLOCK):
        rows = slice(first, first + _BLOCK)
        below = slice(first + _BLOCK, None)
        square[rows, below] = square[below, rows].T
        corner = np.tril(square[rows, rows])
        square[rows, rows] = corner + np.tril(corner, -1).T


def exposed(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Return a copy whose outputs include the given values."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    known = {v.name for v in (*out.graph.output, *out.graph.input)}
    for name in dict.fromkeys(names):
        if name not in known:
            out.graph.output.append(helper.make_empty_tensor_value_info(name))
    return out
