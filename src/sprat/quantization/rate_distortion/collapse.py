"""A model that answers the same whatever it is shown is no result, however few its bytes."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

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

    Two constants are tried: the usual one of the reference's answers, and that of the model's own.
    Outputs that have none, such as strings or boxes of another number for each sample, say nothing:
    they count as equal.

    Args:
        divergence: Compares outputs with the reference's.
        reference: The reference's outputs, batch by batch.
        outputs: The model's.

    Returns:
        False, too, where the reference itself answers the same to every sample.
    """
    usual = _constant(reference)
    own = _constant(outputs)
    names = usual.keys() & own.keys()
    least = divergence(reference, _with(reference, usual, names))
    if not least > _LEAST:
        return False
    answered = [
        {name: (got if name in names else given)[name] for name in given}
        for given, got in zip(reference, outputs, strict=True)
    ]
    found = divergence(reference, answered)
    return not found < min(least, divergence(reference, _with(reference, own, names)))


def _constant(outputs: Sequence[Outputs]) -> dict[str, NDArray[Any]]:
    """Return the constant answer of each output that has one: ``[...]`` without the samples' axis.

    It is the mean of floats, and the commonest value at each place of whole numbers, also where
    these are stored as floats: class maps and indices have no mean.
    """
    found: dict[str, NDArray[Any]] = {}
    for name in outputs[0]:
        parts = [batch[name] for batch in outputs]
        if not all(isinstance(p, np.ndarray) and p.ndim and p.dtype.kind in "fiub" for p in parts):
            continue
        if len({part.shape[1:] for part in parts}) == 1:
            found[name] = _usual(np.concatenate(parts))
    return found


def _usual(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind == "b":
        return np.asarray(values.mean(axis=0) > 0.5)
    if values.size and (values.dtype.kind in "iu" or (values == np.floor(values)).all()):
        from scipy.stats import mode  # takes a second to import, which few models need

        return np.asarray(mode(values, axis=0).mode)
    return np.asarray(values.astype(np.float64).mean(axis=0))


def _with(
    reference: Sequence[Outputs], constant: dict[str, NDArray[Any]], names: Set[str]
) -> list[Outputs]:
    """Return the reference's outputs, some of them replaced by constants of the same shapes."""

    def filled(batch: Outputs) -> Outputs:
        return {
            name: np.broadcast_to(constant[name], values.shape).astype(values.dtype)
            if name in names
            else values
            for name, values in batch.items()
        }

    return [filled(batch) for batch in reference]
