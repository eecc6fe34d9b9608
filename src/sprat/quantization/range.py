"""Whether a model in half precision still gives numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from sprat.errors import ShapeMismatchError, UnsupportedModelError
from sprat.model.inspect import TensorInfo, tensor_infos
from sprat.model.nodes import shown
from sprat.model.session import Feeds, open_session, run

#: Samples that are looked at, and the sizes tried for dynamic axes where there are none.
_LOOKS = 4
_SIZES = (1, 8, 64)
_MAX_ELEMENTS = 1 << 24


def refuse_beyond_range(
    model: onnx.ModelProto, half: onnx.ModelProto, samples: Sequence[Feeds] = ()
) -> None:
    """Refuse a float16 model that answers NaN or inf where the float32 one answers numbers.

    Args:
        model: The float32 model.
        half: The same in float16.
        samples: Real inputs; seeded noise where there are none, and nothing where none fits.

    Raises:
        UnsupportedModelError: A value inside goes beyond float16's range.
    """
    before, after = open_session(model), open_session(half)
    for feeds in samples[:_LOOKS] or [_noise(tensor_infos(model), size) for size in _SIZES]:
        try:
            wanted = run(before, feeds)
        except (ShapeMismatchError, UnsupportedModelError):
            continue  # noise of this size does not fit
        got = run(after, feeds, list(wanted))
        for name, values in wanted.items():
            lost = _numbers(values) & ~_numbers(got[name])
            if lost.any():
                raise UnsupportedModelError(
                    f"in float16 {int(lost.sum()):,} of {lost.size:,} values of the output "
                    f"{shown(name)} are no numbers any more: something inside goes beyond 65,504, "
                    "the largest that float16 holds.",
                    where="float16 quantization",
                    hint="Keep the nodes concerned in float32 with --exclude, or take --method "
                    "weights.",
                )


def _numbers(values: object) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    if isinstance(values, np.ndarray) and values.dtype.kind == "f":
        return np.asarray(np.isfinite(values))
    return np.ones((), np.bool_)


def _noise(inputs: Sequence[TensorInfo], size: int) -> Feeds:
    """Make standard normal floats, and zeros of other types."""
    random = np.random.default_rng(0)
    feeds: Feeds = {}
    for tensor in inputs:
        shape = tuple(d if isinstance(d, int) and d > 0 else size for d in tensor.shape)
        if int(np.prod(shape, dtype=object) if shape else 1) > _MAX_ELEMENTS:
            continue  # the run then refuses, and nothing is known
        if tensor.dtype.startswith("float"):
            feeds[tensor.name] = random.standard_normal(shape).astype(tensor.dtype)
        elif tensor.dtype == "bool" or tensor.dtype.startswith(("int", "uint")):
            feeds[tensor.name] = np.zeros(shape, tensor.dtype)
    return feeds
