"""Fit a model's last layers anew to what the rounded layers before them deliver.

The errors of all layers arrive at the last ones, and much of them is linear in what arrives: a last
layer that is fitted to the rounded model's inputs and the float model's outputs takes it back, for
no bytes at all.

Sources: asymmetric reconstruction (AdaRound, Nagel et al. 2020, arXiv 2004.10568, section 3.3);
ridge regression (Hoerl and Kennard 1970).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import onnx
from numpy.typing import NDArray

from sprat.model.nodes import names_read
from sprat.model.session import Feeds, samples_in
from sprat.parallel import cores, ordered_map
from sprat.progress import Progress, silent
from sprat.quantization.rate_distortion.layers import Layer
from sprat.quantization.rate_distortion.look import replaced
from sprat.quantization.rate_distortion.moments import POSITIONS, LayerInputs
from sprat.quantization.rate_distortion.part import Part
from sprat.quantization.rate_distortion.rounding import Array
from sprat.spread import ALONE, Spread, Task

#: Samples that the rounded model runs on for each point, and vectors of them in all.
_SAMPLES = 1024
_VECTORS = 4096
#: A layer's outputs on all vectors are kept; one of more numbers (a vocabulary's) stays as it is.
_MOST_NUMBERS = 1 << 25
#: One in so many samples is held out, to choose the ridge: a share of the inputs' mean energy.
_HELD = 4
_RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
#: Batches a core that one who takes part gets at a time.
_PIECE = 4


@dataclass(frozen=True)
class Refit:
    """Fits the last layers of one model.

    Attributes:
        model: Float.
        samples: Calibration batches.
        layers: The last layers.
        targets: Weight name to the layer's outputs without its bias, in the float model: float32
            ``[groups, N, outputs]``.
        seed: Chooses positions.
        spread: Who takes part.
    """

    model: onnx.ModelProto
    samples: Sequence[Feeds]
    layers: tuple[Layer, ...]
    targets: Mapping[str, NDArray[np.float32]]
    seed: int
    spread: Spread = ALONE

    def __call__(
        self,
        parts: Sequence[Part],
        weights: Mapping[str, NDArray[np.float32]],
        progress: Progress = silent,
    ) -> list[Part]:
        """Return the last layers with weights and biases that suit a rounded model.

        Args:
            parts: All layers of the float model.
            weights: Initializer name to its value in the rounded model.
            progress: Told how many batches are done.

        Returns:
            The last layers, to be rounded in place of theirs among ``parts``.
        """
        model = replaced(self.model, weights)
        found = _vectors(model, self.layers, self.samples, self.seed, progress, self.spread)
        last = [part for part in parts if part.layer.name in self.targets]
        count = len(self.samples) * samples_in(self.samples[0])

        def one(part: Part) -> Part:
            name = part.layer.name
            return _fitted(part, found[name], self.targets[name], count)

        return list(ordered_map(one, last))


def refit(
    model: onnx.ModelProto,
    parts: Sequence[Part],
    samples: Sequence[Feeds],
    *,
    seed: int = 0,
    progress: Progress = silent,
    spread: Spread = ALONE,
) -> Refit | None:
    """Make the last layers of a model ready to be fitted.

    Args:
        model: Clean, nodes named.
        parts: Its layers.
        samples: Calibration batches; of many, some are taken.
        seed: Chooses positions.
        progress: Told how many batches are done.
        spread: Who takes part.

    Returns:
        What fits them; None where no last layer has a bias of its own.
    """
    size = samples_in(samples[0])
    some = samples[:: max(1, math.ceil(len(samples) * size / _SAMPLES))]
    count = len(some) * size * POSITIONS
    last = last_layers(model, [part.layer for part in parts])
    layers = tuple(
        part.layer
        for part in parts
        if part.layer.name in last
        and part.bias is not None
        and part.layer.outputs * part.layer.groups * min(count, _VECTORS) <= _MOST_NUMBERS
    )
    if not layers:
        return None
    known = {part.layer.name: part for part in parts}
    targets = {
        name: np.matmul(x, known[name].weights.astype(np.float32).transpose(0, 2, 1))
        for name, x in _vectors(model, layers, some, seed, progress, spread).items()
    }
    return Refit(model, some, layers, targets, seed, spread)


def last_layers(model: onnx.ModelProto, layers: Sequence[Layer]) -> set[str]:
    """Return the weights of the layers behind which no other layer lies."""
    behind: set[str] = set()
    last: set[str] = set()
    first = {layer.node: layer for layer in layers}
    for node in reversed(model.graph.node):
        follows = any(name in behind for name in node.output)
        layer = first.get(node.name)
        if layer is not None and not follows:
            last.add(layer.name)
        if layer is not None or follows:
            behind.update(names_read(node))
    return last


@dataclass(frozen=True, eq=False)
class _Cutting(Task[range, dict[str, NDArray[np.float32]]]):
    """Yields the layers' input vectors of batches that are given by their numbers."""

    model: onnx.ModelProto
    layers: tuple[Layer, ...]
    samples: Sequence[Feeds]
    rows: int
    seed: int

    @cached_property
    def inputs(self) -> LayerInputs:
        return LayerInputs(self.model, self.layers, self.samples)

    def __call__(self, numbers: range) -> Iterator[dict[str, NDArray[np.float32]]]:
        for values in self.inputs(numbers):
            yield {
                layer.name: layer.patches(values[layer.source], self.rows, self.seed)
                for layer in self.layers
            }


def _vectors(
    model: onnx.ModelProto,
    layers: Sequence[Layer],
    samples: Sequence[Feeds],
    seed: int,
    progress: Progress,
    spread: Spread,
) -> dict[str, NDArray[np.float32]]:
    """Return the layers' input vectors, float32 ``[groups, N, columns]``, at the same positions."""
    rows = max(1, min(POSITIONS, _VECTORS // (len(samples) * samples_in(samples[0]))))
    found: dict[str, list[NDArray[np.float32]]] = {layer.name: [] for layer in layers}
    task = _Cutting(model, tuple(layers), samples, rows, seed)
    for i, vectors in enumerate(spread.flat(task, spread.pieces(len(samples), _PIECE * cores()))):
        for name, values in vectors.items():
            found[name].append(values)
        progress("fitting the last layers", i + 1, len(samples))
    return {name: np.concatenate(parts, axis=1) for name, parts in found.items()}


def _fitted(part: Part, x: NDArray[np.float32], target: NDArray[np.float32], samples: int) -> Part:
    """Fit one layer: the ridge is the one that does best on samples that are held out."""
    # By sample, not by vector: the positions of one sample are alike.
    held = np.arange(x.shape[1]) * samples // x.shape[1] % _HELD == _HELD - 1
    ways = [None, *_RIDGES]

    def error(ridge: float | None) -> float:
        wrong = 0.0
        for weights, inputs, wanted in zip(part.weights, x, target, strict=True):
            new, shift = _solved(weights, inputs[~held], wanted[~held], ridge)
            got = inputs[held].astype(np.float64) @ new.T + shift
            wrong += float(((got - wanted[held]) ** 2).sum())
        return wrong

    best = min(ways, key=error) if held.any() else None
    solved = [_solved(w, i, t, best) for w, i, t in zip(part.weights, x, target, strict=True)]
    assert part.bias is not None
    shift = np.stack([s for _, s in solved]).reshape(part.bias.shape)
    return replace(
        part,
        weights=np.stack([weights for weights, _ in solved]),
        bias=(part.bias + shift).astype(np.float32),
        mean=x.mean(axis=1, dtype=np.float64).astype(np.float32),
    )


def _solved(
    weights: Array, x: NDArray[np.float32], target: NDArray[np.float32], ridge: float | None
) -> tuple[Array, Array]:
    """Return the weights ``[outputs, columns]`` and the shift of the bias ``[outputs]``.

    Without a ridge the weights stay, and only the means are brought together.
    """
    inputs, wanted = x.astype(np.float64), target.astype(np.float64)
    middle, aim = inputs.mean(axis=0), wanted.mean(axis=0)
    new = weights
    if ridge is not None:
        inputs -= middle
        left = wanted - aim - inputs @ weights.T
        moment = inputs.T @ inputs / len(inputs)
        energy = max(float(np.trace(moment)) / len(moment), 1e-30)
        np.einsum("ii->i", moment)[...] += ridge * energy
        new = weights + np.linalg.solve(moment, inputs.T @ left / len(inputs)).T
    return new, aim - new @ middle
