"""A model that answers the same whatever it is shown is no result, however few its bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sprat.model.session import Outputs
from sprat.quantization.rate_distortion.look import Divergence

#: Below it the reference itself answers (nearly) the same to every sample: nothing can be said.
_LEAST = 1e-9


def is_constant(
    divergence: Divergence, reference: Sequence[Outputs], outputs: Sequence[Outputs]
) -> bool:
    """Say whether a model's answers are no nearer to the reference's than a constant answer is.

    Two constants are tried: the mean of the reference's answers, and that of the model's own.

    Args:
        divergence: Compares outputs with the reference's.
        reference: The reference's outputs, batch by batch.
        outputs: The model's.

    Returns:
        False, too, where the reference itself answers the same to every sample.
    """
    own = averaged(outputs)
    usual = averaged(reference)
    if own is None or usual is None:
        return False
    least = divergence(reference, usual)
    if not least > _LEAST:
        return False
    found = divergence(reference, outputs)
    return not found < min(least, divergence(reference, own))


def averaged(outputs: Sequence[Outputs]) -> list[Outputs] | None:
    """Replace each sample's outputs by their mean over all samples.

    Args:
        outputs: Batch by batch, samples along axis 0.

    Returns:
        The same shapes; None where samples differ in shape, or an output is no tensor of floats.
    """
    means: dict[str, NDArray[np.float64]] = {}
    for name in outputs[0]:
        parts = [batch[name] for batch in outputs]
        if not all(isinstance(p, np.ndarray) and p.ndim and p.dtype.kind == "f" for p in parts):
            return None
        if len({part.shape[1:] for part in parts}) > 1:
            return None
        means[name] = np.concatenate(parts).astype(np.float64).mean(axis=0)

    def filled(batch: Outputs) -> Outputs:
        return {
            name: np.broadcast_to(means[name], values.shape).astype(values.dtype)
            for name, values in batch.items()
        }

    return [filled(batch) for batch in outputs]
