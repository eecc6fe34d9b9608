"""Second moments of the layers' inputs, streamed with bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from sprat.model.session import Feeds, open_session, run
from sprat.parallel import ordered_map
from sprat.progress import Progress, silent
from sprat.quantization.rate_distortion.layers import Layer

#: Positions of each sample that enter the moment of a layer.
POSITIONS = 64


@dataclass(frozen=True)
class Moments:
    """The first two moments of a layer's input vectors.

    Attributes:
        mean: float32 ``[groups, columns]``.
        second: ``E[x x^T]``, float32 ``[groups, columns, columns]``.
        vectors: How many they are of.
    """

    mean: NDArray[np.float32]
    second: NDArray[np.float32]
    vectors: int

    def covariance(self) -> NDArray[np.float32]:
        """Return ``E[x x^T]`` about the mean: what an error costs where a bias takes the rest."""
        return self.second - self.mean[:, :, None] * self.mean[:, None, :]


def input_moments(
    model: onnx.ModelProto,
    layers: Sequence[Layer],
    samples: Sequence[Feeds],
    *,
    seed: int = 0,
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
        progress: Told how many batches are done.

    Returns:
        Layer name to its moments.
    """
    session = open_session(exposed(model, [layer.source for layer in layers]))
    sources = sorted({layer.source for layer in layers} - set(samples[0]))
    sums: dict[str, Moments] = {}
    for i, feeds in enumerate(samples):
        values: dict[str, Any] = {**feeds, **run(session, feeds, sources)}

        def of_batch(layer: Layer, values: dict[str, Any] = values) -> Moments:
            vectors = layer.patches(values[layer.source], POSITIONS, seed)
            products = np.matmul(vectors.transpose(0, 2, 1), vectors)
            return Moments(vectors.sum(axis=1), products, vectors.shape[1])

        for layer, batch in zip(layers, ordered_map(of_batch, layers), strict=True):
            before = sums.get(layer.name)
            sums[layer.name] = batch if before is None else _added(before, batch)
        progress("measuring the layers' inputs", i + 1, len(samples))
    return {name: _averaged(total) for name, total in sums.items()}


def _added(total: Moments, batch: Moments) -> Moments:
    """Add in place: a moment of a wide layer takes a tenth of a gigabyte."""
    np.add(total.mean, batch.mean, out=total.mean)
    np.add(total.second, batch.second, out=total.second)
    return Moments(total.mean, total.second, total.vectors + batch.vectors)


def _averaged(total: Moments) -> Moments:
    count = np.float32(max(1, total.vectors))
    return Moments(total.mean / count, total.second / count, total.vectors)


def exposed(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Return a copy whose outputs include the given values."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    known = {v.name for v in (*out.graph.output, *out.graph.input)}
    for name in dict.fromkeys(names):
        if name not in known:
            out.graph.output.append(helper.make_empty_tensor_value_info(name))
    return out
