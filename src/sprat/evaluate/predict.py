"""Run a model over a whole set of samples, and keep the outputs that are measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from sprat.data.dataset import Dataset
from sprat.errors import DataError
from sprat.model.nodes import all_nodes
from sprat.model.session import Feeds, Outputs, is_weight_only, open_session, predict
from sprat.parallel import cores
from sprat.progress import Progress, silent
from sprat.spread import ALONE, Spread, Task

#: Samples in one run of a model whose batch axis is dynamic.
BATCH = 8
_MAX_OUTPUT_BYTES = 2**31
#: Batches a core that one who takes part gets at a time.
_PIECE = 4
#: Operators that treat all samples of a run alike: one branch, one count of turns, one range of
#: activations for all of them. In such a model a sample's answer depends on its neighbours.
_MIXING = frozenset(
    {"If", "Loop", "Scan", "DynamicQuantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul"}
)
#: Names of outputs in an error.
_SHOWN = 8


def mixing_operator(model: onnx.ModelProto) -> str:
    """Return an operator that decides something for all samples of a run at once; empty without."""
    nodes = chain(all_nodes(model.graph), *(all_nodes(function) for function in model.functions))
    return next((node.op_type for node in nodes if node.op_type in _MIXING), "")


@dataclass(frozen=True, eq=False)
class Answering(Task[range, Outputs]):
    """Runs a model over batches of a set, given by their numbers.

    Attributes:
        model: The model. Quantized weights of a weight-only model are expanded once at load.
        dataset: The samples.
        size: Samples in one run; the last batch is filled up with its last sample. Samples of
            unlike shapes run one at a time, each filling a run.
        names: The outputs wanted; None takes all.
    """

    model: onnx.ModelProto | Path
    dataset: Dataset
    size: int
    names: tuple[str, ...] | None = None

    @cached_property
    def session(self) -> ort.InferenceSession:
        """What runs it."""
        return open_session(self.model, fold_weights=is_weight_only(self.model))

    @property
    def together(self) -> int:
        """How many different samples share a run."""
        return 1 if self.dataset.is_ragged else self.size

    def __call__(self, numbers: range) -> Iterator[Outputs]:
        """Yield the outputs of each batch."""
        return predict(self.session, (self._feeds(number) for number in numbers), self.names)

    def _feeds(self, number: int) -> Feeds:
        first = number * self.together
        last = min(first + self.together, len(self.dataset.samples))
        return padded(self.dataset.batch(range(first, last)), self.size)


def predict_all(
    model: onnx.ModelProto | Path,
    dataset: Dataset,
    size: int,
    progress: Progress = silent,
    spread: Spread = ALONE,
    names: Sequence[str] | None = None,
) -> Outputs:
    """Run a model over a whole set.

    Args:
        model: The model. Quantized weights of a weight-only model are expanded once at load.
        dataset: The samples.
        size: Samples in one run.
        progress: Told how many samples are done.
        spread: Who takes part.
        names: The outputs wanted; None takes all. Others are not kept in memory.

    Returns:
        Each output over all samples.

    Raises:
        DataError: An output has no axis of samples or another shape for each of them, the model
            lacks an output, or the outputs would not fit in memory.
        ShapeMismatchError: The samples do not fit the inputs.
    """
    task = Answering(model, dataset, size, None if names is None else tuple(names))
    _check_names(task)
    count = len(dataset.samples)
    pieces = spread.pieces(math.ceil(count / task.together), _PIECE * cores())
    parts: dict[str, list[NDArray[Any]]] = {}
    done = 0
    for outputs in spread.flat(task, pieces):
        real = min(task.together, count - done)
        for name, values in outputs.items():
            parts.setdefault(name, []).append(by_sample(name, values, size)[:real])
        done += real
        expected = sum(p[0].nbytes for p in parts.values()) / task.together * count
        if expected > _MAX_OUTPUT_BYTES:
            raise DataError(
                f"the outputs of {count} samples take {expected / 1e9:.1f} GB.",
                hint="Take fewer samples with --limit, or fewer outputs with --output.",
            )
        progress("running the model", done, count)
    return {name: _joined(name, part) for name, part in parts.items()}


def _check_names(task: Answering) -> None:
    """Refuse a model that lacks an output which is wanted."""
    if task.names is None:
        return
    known = [output.name for output in task.session.get_outputs()]
    missing = [name for name in task.names if name not in known]
    if missing:
        raise DataError(
            f"output {missing[0]!r} has no counterpart in the model, whose outputs are "
            f"{', '.join(known[:_SHOWN])}.",
            hint="Select outputs that both models have with --output.",
        )


def _joined(name: str, parts: list[NDArray[Any]]) -> NDArray[Any]:
    shapes = sorted({part.shape[1:] for part in parts})
    if len(shapes) > 1:
        raise DataError(
            f"output {name!r} has another shape for each sample, such as "
            f"{' and '.join(str(list(shape)) for shape in shapes[:2])}, so that its values cannot "
            "be compared position by position.",
            hint="Select an output of one shape with --output, or pad the samples to one length.",
        )
    return np.concatenate(parts)


def padded(feeds: Feeds, size: int) -> Feeds:
    """Repeat the last sample until the batch is full, for models of a fixed batch size."""
    short = {k: size - len(v) for k, v in feeds.items()}
    if not any(short.values()):
        return feeds
    return {k: np.concatenate([v, np.repeat(v[-1:], short[k], axis=0)]) for k, v in feeds.items()}


def by_sample(name: str, values: object, size: int) -> NDArray[Any]:
    """Return an output of one run with its samples along the first axis.

    Args:
        name: Of the output, for errors.
        values: What the runtime gave.
        size: Samples in the run.

    Raises:
        DataError: It is no tensor of numbers, or has no axis of samples.
    """
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
        raise DataError(
            f"output {name!r} is no tensor of numbers (a sequence, a map or text).",
            hint="Export the model with tensors of scores as its outputs.",
        )
    if size == 1:
        values = np.atleast_1d(values)  # a Squeeze of all axes takes that of one sample along
    if values.ndim == 0 or len(values) != size:
        raise DataError(
            f"output {name!r} has shape {list(values.shape)} for {size} "
            f"{'sample' if size == 1 else 'samples'}; its first axis must be the samples.",
            hint="Select others with --output; those that are not selected are not measured.",
        )
    return values
