"""How far answers lie from the original's, as ``evaluate`` measures it, for gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

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
        squared error over the mean square of the reference.
    """
    count = len(reference)
    if reading.kind == "vector":
        wanted = torch.from_numpy(reference.reshape(count, -1).astype(np.float32))
        power = wanted.square().mean().clamp(min=_TINY)
        return (output.reshape(count, -1) - wanted).square().mean(1) / power
    p = torch.from_numpy(probabilities(reference, reading).astype(np.float32))
    logs = _log_probabilities(output, reading)
    terms = p * (p.clamp(min=_TINY).log() - logs)
    return terms.sum(-1).reshape(count, -1).mean(1)


def _log_probabilities(values: Tensor, reading: Reading) -> Tensor:
    if reading.kind == "logit":
        one = values.reshape(len(values))
        if reading.probability:
            return torch.stack([1 - one, one], -1).clamp(min=_TINY).log()
        z = one - reading.threshold
        return torch.stack([functional.logsigmoid(-z), functional.logsigmoid(z)], -1)
    scores = values.reshape(len(values), -1) if reading.kind == "classes" else values
    return scores.clamp(min=_TINY).log() if reading.probability else scores.log_softmax(-1)
