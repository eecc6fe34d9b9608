"""Whether a changed model still gives the original's outputs on the same inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import onnx
from numpy.typing import NDArray

from sprat.errors import EndlessModelError, ShapeMismatchError, SpratError
from sprat.model.inspect import TensorInfo, tensor_infos
from sprat.model.session import Feeds, Outputs, is_weight_only, open_session, run

#: An output may differ by this share of its largest absolute value (float rounding, summed over
#: layers), and by this much where it is nearly zero.
_RELATIVE = 1e-3
_ABSOLUTE = 1e-6
#: Sizes tried for dynamic dimensions, where there are no real samples: larger ones reach more.
_DYNAMIC_SIZES = (64, 48, 224, 8, 1)
#: Sizes tried for the first axis: more than one sample reaches more, one fits where no more does.
_BATCHES = (2, 1)
_MAX_ELEMENTS = 1 << 26


@dataclass(frozen=True)
class Proof:
    """Inputs and the original's outputs on them.

    Attributes:
        feeds: The inputs.
        outputs: The original's outputs, one entry per input.
    """

    feeds: tuple[Feeds, ...]
    outputs: tuple[Outputs, ...]

    def difference(self, model: onnx.ModelProto) -> tuple[float, str]:
        """Run a changed model and compare.

        Args:
            model: With the original's inputs and outputs.

        Returns:
            The largest absolute difference, and what is wrong, empty if the outputs are the same
            within float rounding.

        Raises:
            UnsupportedModelError: It cannot be run.
            ShapeMismatchError: Its inputs changed.
        """
        session = open_session(model, fold_weights=is_weight_only(model))
        largest, wrong = 0.0, ""
        for feeds, wanted in zip(self.feeds, self.outputs, strict=True):
            got = run(session, feeds, list(wanted))
            for name, values in wanted.items():
                off, allowed = gap(values, got[name])
                largest = max(largest, off)
                if off > allowed and not wrong:
                    wrong = f"output {name!r} differs by {off:.2g}, of {allowed:.2g} allowed"
        return largest, wrong


def prepare(model: onnx.ModelProto, samples: Sequence[Feeds] | None = None) -> Proof:
    """Run the original once.

    Args:
        model: The original.
        samples: Real inputs; seeded noise of fitting shapes by default.

    Returns:
        What changed models are compared with.

    Raises:
        UnsupportedModelError: The model cannot be run, or does not end.
        ShapeMismatchError: The samples do not fit, or no noise does.
    """
    session = open_session(model, fold_weights=is_weight_only(model))
    if samples:
        return Proof(tuple(samples), tuple(run(session, feeds) for feeds in samples))
    failure: SpratError | None = None
    for batch, size in product(_BATCHES, _DYNAMIC_SIZES):
        try:
            feeds = noise(tensor_infos(model), size, batch=batch)
            return Proof((feeds,), (run(session, feeds),))
        except EndlessModelError:
            raise
        except SpratError as error:
            failure = failure or error
    raise ShapeMismatchError(
        f"the model cannot be run on random inputs: {failure.what if failure else ''}",
        where=model.graph.name,
        hint="Give real samples with --data.",
    )


def noise(
    inputs: Sequence[TensorInfo], size: int = 1, *, seed: int = 0, batch: int = _BATCHES[0]
) -> Feeds:
    """Make seeded inputs: standard normal floats, zeros and ones for integers.

    Larger integers would be no index of a small table.

    Args:
        inputs: The model's inputs. Dimensions of the same name get the same size.
        size: Of dynamic dimensions, except those of a first axis.
        seed: Of the numbers.
        batch: Of a dynamic first axis, and of dimensions of its name.

    Returns:
        One array per input.

    Raises:
        ShapeMismatchError: An input is absurdly large, or of a type without numbers.
    """
    first = {t.shape[0] for t in inputs if t.shape} - {"?"}
    random = np.random.default_rng(seed)
    feeds = {}
    for tensor in inputs:
        shape = tuple(
            d if isinstance(d, int) else batch if axis == 0 or d in first else size
            for axis, d in enumerate(tensor.shape)
        )
        feeds[tensor.name] = _values(tensor, shape, random)
    return feeds


def _values(
    tensor: TensorInfo, shape: tuple[int, ...], random: np.random.Generator
) -> NDArray[np.generic]:
    if np.prod(shape, dtype=object) > _MAX_ELEMENTS:
        raise ShapeMismatchError(f"input {tensor.name!r} wants {list(shape)}, which is too large.")
    if tensor.dtype in ("float32", "float16", "float64"):
        return np.asarray(random.standard_normal(shape), dtype=tensor.dtype)
    if tensor.dtype == "bool" or tensor.dtype.startswith(("int", "uint")):
        return np.asarray(random.integers(0, 2, shape), dtype=tensor.dtype)
    raise ShapeMismatchError(f"input {tensor.name!r} wants {tensor.dtype}, which is no number.")


def gap(wanted: object, got: object) -> tuple[float, float]:
    """Return the largest difference of one output, and how much is allowed."""
    if not isinstance(wanted, np.ndarray) or not isinstance(got, np.ndarray):
        return (0.0 if repr(wanted) == repr(got) else np.inf), 0.0
    if wanted.shape != got.shape or wanted.dtype != got.dtype:
        return np.inf, 0.0
    if wanted.dtype.kind not in "fiub":
        return (0.0 if np.array_equal(wanted, got) else np.inf), 0.0
    a, b = wanted.astype(np.float64), got.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    gap = np.where(same, 0.0, np.abs(a - b))
    finite = np.abs(a[np.isfinite(a)]).max(initial=0.0)
    largest = float(gap.max(initial=0.0))
    return (np.inf if np.isnan(largest) else largest), float(_RELATIVE * finite + _ABSOLUTE)
