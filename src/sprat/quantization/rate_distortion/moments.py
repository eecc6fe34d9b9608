"""Second moments of the layers' inputs, streamed with bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
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


def second_moments(
    model: onnx.ModelProto,
    layers: Sequence[Layer],
    samples: Sequence[Feeds],
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, tuple[NDArray[np.float32], int]]:
    """Compute ``H = E[x x^T]`` of every layer's input vectors.

    Only one batch's activations are held at a time. The sums are formed in the order of the
    batches, so they do not depend on the number of cores.

    Args:
        model: The float model.
        layers: Its layers.
        samples: Calibration batches.
        seed: Chooses the positions.
        progress: Told how many batches are done.

    Returns:
        Layer name to float32 ``[groups, columns, columns]`` and the count of vectors in it.
    """
    session = open_session(exposed(model, [layer.source for layer in layers]))
    sources = sorted({layer.source for layer in layers} - set(samples[0]))
    sums: dict[str, NDArray[np.float32]] = {}
    counts: dict[str, int] = {}
    for i, feeds in enumerate(samples):
        values: dict[str, Any] = {**feeds, **run(session, feeds, sources)}

        def moment(layer: Layer, values: dict[str, Any] = values) -> tuple[NDArray[Any], int]:
            vectors = layer.patches(values[layer.source], POSITIONS, seed)
            return np.matmul(vectors.transpose(0, 2, 1), vectors), vectors.shape[1]

        for layer, (moments, count) in zip(layers, ordered_map(moment, layers), strict=True):
            if layer.name in sums:
                sums[layer.name] += moments
            else:
                sums[layer.name] = moments
            counts[layer.name] = counts.get(layer.name, 0) + count
        progress("measuring the layers' inputs", i + 1, len(samples))
    return {
        name: (total / np.float32(max(1, counts[name])), counts[name])
        for name, total in sums.items()
    }


def exposed(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Return a copy whose outputs include the given values."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    known = {v.name for v in (*out.graph.output, *out.graph.input)}
    for name in dict.fromkeys(names):
        if name not in known:
            out.graph.output.append(helper.make_empty_tensor_value_info(name))
    return out
