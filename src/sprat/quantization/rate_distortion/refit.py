"""Fit a model's last layers anew to what the rounded layers before them deliver.

The errors of all layers arrive at the last ones, and much of them is linear in what arrives: a last
layer that is fitted to the rounded model's inputs and the float model's outputs takes it back, for
no bytes at all.

Sources: asymmetric reconstruction (AdaRound, Nagel et al. 2020, arXiv 2004.10568, section 3.3);
ridge regression (Hoerl and Kennard 1970).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from sprat.model.nodes import names_read
from sprat.model.session import Feeds, samples_in
from sprat.parallel import ordered_map
from sprat.progress import Progress, silent
from sprat.quantization.rate_distortion.engine import Part
from sprat.quantization.rate_distortion.layers import Layer
from sprat.quantization.rate_distortion.look import replaced
from sprat.quantization.rate_distortion.moments import POSITIONS, layer_inputs
from sprat.quantization.rate_distortion.rounding import Array

#: Vectors of all samples together.
_VECTORS = 4096
#: A layer's outputs on all vectors are kept; one of more numbers (a vocabulary's) stays as it is.
_MOST_NUMBERS = 1 << 25
#: One in so many samples is held out, to choose the ridge: a share of the inputs' mean energy.
_HELD = 4
_RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True)
class Inputs:
    """The input vectors of some layers, gathered batch by batch while a model runs.

    Attributes:
        layers: The layers.
        rows: Vectors of each sample at most, always at the same positions.
        seed: Chooses the positions.
        batches: Weight name to float32 ``[groups, n, columns]``, for each batch.
    """

    layers: tuple[Layer, ...]
    rows: int
    seed: int
    batches: list[dict[str, NDArray[np.float32]]] = field(default_factory=list)

    def take(self, values: Mapping[str, Any]) -> None:
        """Take the vectors out of a batch's tensors."""
        self.batches.append(
            {
                layer.name: layer.patches(values[layer.source], self.rows, self.seed)
                for layer in self.layers
            }
        )

    def joined(self) -> dict[str, NDArray[np.float32]]:
        """Return each layer's vectors of all batches, float32 ``[groups, N, columns]``."""
        return {
            layer.name: np.concatenate([batch[layer.name] for batch in self.batches], axis=1)
            for layer in self.layers
        }


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
    """

    model: onnx.ModelProto
    samples: Sequence[Feeds]
    layers: tuple[Layer, ...]
    targets: Mapping[str, NDArray[np.float32]]
    seed: int

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
        count = len(self.samples) * samples_in(self.samples[0])
        inputs = Inputs(self.layers, _rows(count), self.seed)
        run = layer_inputs(replaced(self.model, weights), self.layers, self.samples)
        for i, values in enumerate(run):
            inputs.take(values)
            progress("fitting the last layers", i + 1, len(self.samples))
        found = inputs.joined()
        last = [part for part in parts if part.layer.name in self.targets]

        def one(part: Part) -> Part:
            name = part.layer.name
            return _fitted(part, found[name], self.targets[name], count)

        return list(ordered_map(one, last))


def last_inputs(
    model: onnx.ModelProto, layers: Sequence[Layer], samples: Sequence[Feeds], *, seed: int = 0
) -> Inputs:
    """Return where the inputs of the last layers are to be gathered while the float model runs.

    Args:
        model: Clean, nodes named.
        layers: Its layers.
        samples: Calibration batches.
        seed: Chooses positions.

    Returns:
        Without layers where no last layer has a bias of its own.
    """
    count = len(samples) * samples_in(samples[0])
    last = last_layers(model, layers)
    kept = min(count * POSITIONS, _VECTORS)
    chosen = tuple(
        layer
        for layer in layers
        if layer.name in last
        and layer.bias
        and layer.outputs * layer.groups * kept <= _MOST_NUMBERS
    )
    return Inputs(chosen, _rows(count), seed)


def refit(
    model: onnx.ModelProto, parts: Sequence[Part], samples: Sequence[Feeds], inputs: Inputs
) -> Refit | None:
    """Make the last layers of a model ready to be fitted.

    Args:
        model: Clean, nodes named.
        parts: Its layers.
        samples: Calibration batches.
        inputs: From :func:`last_inputs`, of the float model on those samples, in their order.

    Returns:
        What fits them; None where no last layer has a bias of its own.
    """
    if not inputs.layers:
        return None
    known = {part.layer.name: part for part in parts}
    targets = {
        name: np.matmul(x, known[name].weights.astype(np.float32).transpose(0, 2, 1))
        for name, x in inputs.joined().items()
    }
    return Refit(model, samples, inputs.layers, targets, inputs.seed)


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


def _rows(samples: int) -> int:
    """Return how many vectors each of so many samples gives."""
    return max(1, min(POSITIONS, _VECTORS // samples))


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
