"""What a teacher's input and output are, and its answers in the terms of the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from sprat.distillation.losses import UNLABELLED
from sprat.errors import OptionError, UnsupportedModelError
from sprat.evaluate.reading import Reading, producer_of
from sprat.evaluate.types import OutputKind
from sprat.model.inspect import tensor_infos
from sprat.model.nodes import dtype_name
from sprat.model.session import Feeds, Outputs

_FLOATS = ("float16", "float32", "float64")
#: Probabilities are kept this far from 0 and 1 before their logarithm is taken.
_TINY = 1e-7


@dataclass(frozen=True)
class Contract:
    """What goes in and comes out, as the teacher has it.

    Attributes:
        teacher: The teacher's graph, for its inputs and outputs.
        input: Name of the input.
        dtype: Its type, in numpy's words.
        layout: ``nchw``, ``nhwc``, or empty where the input is no picture.
        shape: Of one sample of the data, without the batch: ``[C, H, W]`` for pictures.
        output: Name of the output.
        values: Shape of the output for one sample.
        out_dtype: Its type.
        probability: Whether the output holds probabilities.
        kind: How it is read.
        threshold: For ``logit``: above it the answer is class 1.
    """

    teacher: onnx.ModelProto
    input: str
    dtype: str
    layout: str
    shape: tuple[int, ...]
    output: str
    values: tuple[int, ...]
    out_dtype: str
    probability: bool
    kind: OutputKind
    threshold: float

    @property
    def columns(self) -> int:
        """How many values the student gives for one sample."""
        return int(np.prod(self.values, dtype=np.int64)) if self.values else 1

    def planes(self, feeds: Feeds) -> Tensor:
        """Return a batch of the data as float32 ``[N, C, H, W]``, or as it is if no picture."""
        x = torch.from_numpy(np.ascontiguousarray(feeds[self.input])).float()
        return x.permute(0, 3, 1, 2) if self.layout == "nhwc" else x

    def feeds(self, planes: Tensor) -> Feeds:
        """Turn planes back into what the teacher's session takes."""
        x = planes.permute(0, 2, 3, 1) if self.layout == "nhwc" else planes
        if self.dtype == "uint8":
            x = x.round().clamp(0, 255)
        return {self.input: np.ascontiguousarray(x.cpu().numpy().astype(self.dtype))}


def contract_of(
    teacher: onnx.ModelProto, reading: Reading, feeds: Feeds, outputs: Outputs, layout: str
) -> Contract:
    """Return a teacher's contract.

    Args:
        teacher: The teacher.
        reading: How its output is read.
        feeds: Some samples, for the sizes of dynamic axes.
        outputs: The teacher's outputs on any samples.
        layout: Of pictures; ``nchw`` is taken for other inputs of four axes.

    Raises:
        UnsupportedModelError: It has several inputs or outputs, or no numbers in them.
    """
    inputs = tensor_infos(teacher)
    for what, names in (
        ("inputs", [t.name for t in inputs]),
        ("outputs", [v.name for v in teacher.graph.output]),
    ):
        if len(names) != 1:
            raise UnsupportedModelError(
                f"the teacher has {len(names)} {what} ({', '.join(names)}); a student has one.",
                hint="Cut the teacher down to the one that matters, by onnx.utils.extract_model.",
            )
    info, name = inputs[0], reading.output
    out_dtype = dtype_name(teacher.graph.output[0].type.tensor_type.elem_type)
    if info.dtype not in (*_FLOATS, "uint8") or out_dtype not in _FLOATS:
        raise UnsupportedModelError(
            f"the teacher maps {info.dtype} to {out_dtype}; a student learns from floating point "
            "numbers (or uint8 pixels) to floating point numbers."
        )
    if reading.kind in ("classes", "sequence") and producer_of(teacher, name) == "Sigmoid":
        raise UnsupportedModelError(
            "the teacher has a Sigmoid over each of several columns; labels that are no "
            "distribution cannot be taught."
        )
    sample = feeds[info.name].shape[1:]
    is_picture = len(sample) == 3
    is_nhwc = is_picture and layout == "nhwc"
    return Contract(
        teacher,
        info.name,
        info.dtype,
        ("nhwc" if is_nhwc else "nchw") if is_picture else "",
        tuple(sample[i] for i in (2, 0, 1)) if is_nhwc else tuple(sample),
        name,
        tuple(outputs[name].shape[1:]),
        out_dtype,
        reading.probability,
        reading.kind,
        reading.threshold,
    )


class Terms:
    """Brings answers, the teacher's and the student's, into the terms of the loss."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract

    def of_teacher(self, values: NDArray[Any]) -> Tensor:
        """Turn the teacher's output into scores; probabilities become logarithms of odds.

        Args:
            values: ``[N, *values]`` as the session gives it.

        Returns:
            float32 ``[N]``, ``[N, C]`` or ``[N, P, C]``.
        """
        x = torch.from_numpy(np.ascontiguousarray(values)).float()
        if self._contract.probability and self._contract.kind == "logit":
            x = torch.logit(x, _TINY)
        elif self._contract.probability and self._contract.kind in ("classes", "sequence"):
            x = x.clamp(min=_TINY).log()
        return self._shaped(x)

    def of_student(self, scores: Tensor) -> Tensor:
        """Shape the student's ``[N, columns]`` as :meth:`of_teacher` does."""
        return self._shaped(scores)

    def _shaped(self, x: Tensor) -> Tensor:
        c = self._contract
        if c.kind == "logit":
            limit = c.threshold
            if c.probability:
                limit = float(torch.logit(torch.tensor(limit, dtype=torch.float64), _TINY))
            return x.reshape(len(x)) - limit
        if c.kind == "sequence":
            return x.reshape(len(x), *c.values)
        return x.reshape(len(x), -1)

    def columns_of(self, labels: Sequence[int | None]) -> Tensor:
        """Return the column that each label means.

        Args:
            labels: Class indices; None where there is none.

        Returns:
            int64 ``[N]``.

        Raises:
            OptionError: A label has no column.
        """
        c = self._contract
        if c.kind not in ("logit", "classes"):
            return torch.full((len(labels),), UNLABELLED)
        count = 2 if c.kind == "logit" else c.columns
        missing = next((x for x in labels if x is not None and not 0 <= x < count), None)
        if missing is not None:
            raise OptionError(
                f"the data has a class {missing}, and the teacher knows {count}.",
                where="--labels",
                hint="List the classes in the order of the teacher's output.",
            )
        return torch.tensor([UNLABELLED if x is None else x for x in labels])
