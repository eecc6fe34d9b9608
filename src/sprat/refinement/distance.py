"""How far answers lie from the original's, as ``evaluate`` measures it, for gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sprat.errors import UnsupportedModelError
from sprat.evaluate.reading import Reading, probabilities

_TINY = 1e-12


def distance(reference: NDArray[Any], output: Tensor, reading: Reading) -> Tensor:
    """Return each sample's divergence, the one of :func:`sprat.evaluate.reading.divergence`.

    Args:
        reference: The original's primary output, samples along axis 0.
        output: The same of the model that learns.
        reading: How they are read.

    Returns:
        float32 ``[N]``: KL(reference || model) in nats, averaged over positions; for vectors the
        squared error of the worst group of channels, in units of the group's spread.

    Raises:
        UnsupportedModelError: The output is integers, which have no gradient.
    """
    if reading.kind == "vector":
        return _vector_distance(reference, output, reading)
    if reading.kind == "integers":
        raise UnsupportedModelError(
            "integers have no gradient.",
            where=reading.output,
            hint="Leave --refine out: rate-distortion quantization works without.",
        )
    p = torch.from_numpy(probabilities(reference, reading).astype(np.float32))
    logs = _log_probabilities(output, reading)
    terms = p * (p.clamp(min=_TINY).log() - logs)
    return terms.sum(-1).reshape(len(reference), -1).mean(1)


def _vector_distance(reference: NDArray[Any], output: Tensor, reading: Reading) -> Tensor:
    grouping = reading.groups_of(reference)
    wanted = torch.from_numpy(reference.astype(np.float32))
    channels = _by_channel((output.reshape(wanted.shape) - wanted).square(), grouping.axis)
    groups = [
        (channels[:, list(group.channels)] / torch.tensor(group.scales).square()).mean(1)
        for group in grouping.groups
    ]
    return max(groups, key=lambda group: float(group.detach().mean()))


def _by_channel(values: Tensor, axis: int) -> Tensor:
    """Return ``[N, C]``: the mean over all but samples and channels."""
    if axis == 0:
        return values.reshape(len(values), -1).mean(1, keepdim=True)
    return values.movedim(axis, 1).reshape(len(values), values.shape[axis], -1).mean(2)


def _log_probabilities(values: Tensor, reading: Reading) -> Tensor:
    if reading.kind == "logit":
        one = values.reshape(len(values))
        if reading.probability:
            return torch.stack([1 - one, one], -1).clamp(min=_TINY).log()
        z = one - reading.threshold
        return torch.stack([functional.logsigmoid(-z), functional.logsigmoid(z)], -1)
    scores = values.reshape(len(values), -1) if reading.kind == "classes" else values
    return scores.clamp(min=_TINY).log() if reading.probability else scores.log_softmax(-1)
