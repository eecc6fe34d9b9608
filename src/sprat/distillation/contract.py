"""The teacher's input and output: the student keeps both, so that a page needs no change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from sprat.data.preprocess import Preprocess
from sprat.distillation.configs import Student
from sprat.distillation.losses import UNLABELLED, Kind
from sprat.errors import OptionError, UnsupportedModelError
from sprat.evaluate.reading import Reading, producer_of
from sprat.model.inspect import tensor_infos
from sprat.model.nodes import dtype_name
from sprat.model.session import Feeds, Outputs

_FLOATS = ("float16", "float32", "float64")
_KINDS: tuple[Kind, ...] = ("logit", "classes", "sequence", "vector")
#: Probabilities are kept this far from 0 and 1 before their logarithm is taken.
_TINY = 1e-7
#: Pixels by which a resize aims above its size, so that rounding down gives that size.
_HAIR = 0.01
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


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
        order: For ``classes``: the class that each column means; identity when empty.
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
    kind: Kind
    threshold: float
    order: tuple[int, ...]

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
        OptionError: Its output is read in a way that cannot be taught.
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
    kind = next((kind for kind in _KINDS if kind == reading.kind), None)
    if kind is None:
        raise OptionError(f"{reading.kind} cannot be taught.", where="--output-kind")
    if kind in ("classes", "sequence") and producer_of(teacher, name) == "Sigmoid":
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
        kind,
        reading.threshold,
        reading.order,
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
        order = c.order or tuple(range(count))
        column = {label: i for i, label in enumerate(order)}
        missing = next((x for x in labels if x is not None and x not in column), None)
        if missing is not None:
            raise OptionError(
                f"the data has a class {missing}, and the teacher knows {count}.",
                where="--labels",
                hint="List the classes in the order of the teacher's output.",
            )
        return torch.tensor([UNLABELLED if x is None else column[x] for x in labels])


class Intake(nn.Module):  # type: ignore[misc]  # torch has no types here
    """From the teacher's planes to what the student looks at: the first nodes of its graph.

    Pictures are shrunk by whole factors with a mean over each block, which keeps thin lines, and
    the rest of the way by linear interpolation: AveragePool and Resize, which ONNX Runtime Web and
    the lean runtime both have.

    Args:
        contract: The teacher's.
        size: Height and width that the student looks at; None changes nothing.
        scale: Factor on each channel, ``[C]``; None leaves the numbers as they are.
        shift: Added to each channel afterwards, ``[C]``.
    """

    def __init__(
        self,
        contract: Contract,
        size: tuple[int, int] | None = None,
        scale: Sequence[float] | None = None,
        shift: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        before = contract.shape[-2:] if contract.layout else ()
        self.size = size if size is not None and size != before else None
        self.block: tuple[int, ...] = (1, 1)
        self.factors: tuple[float, ...] = (1.0, 1.0)
        if self.size is not None:
            self.block = tuple(max(1, a // b) for a, b in zip(before, self.size, strict=True))
            pooled = tuple(a // b for a, b in zip(before, self.block, strict=True))
            if pooled != self.size:
                # Constant factors, not sizes: those would be computed from the batch at each run.
                # The runtime rounds down, so they are a hair above.
                self.factors = tuple(
                    (b + _HAIR) / a for a, b in zip(pooled, self.size, strict=True)
                )
        self.scaled = scale is not None or shift is not None
        if self.scaled:
            channels = contract.shape[0]
            factor = torch.tensor(scale or [1.0] * channels).reshape(1, -1, 1, 1)
            offset = torch.tensor(shift or [0.0] * channels).reshape(1, -1, 1, 1)
            self.register_buffer("factor", factor, persistent=False)
            self.register_buffer("offset", offset, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, C, H, W]`` to ``[N, C, h, w]``; what is no picture passes."""
        if self.block != (1, 1):
            x = functional.avg_pool2d(x, self.block)
        if self.factors != (1.0, 1.0):
            x = functional.interpolate(
                x,
                scale_factor=self.factors,
                mode="bilinear",
                align_corners=False,
                recompute_scale_factor=False,
            )
        if self.scaled:
            x = x * self.factor + self.offset
        return x


def intake_of(contract: Contract, student: Student, how: Preprocess | None) -> Intake:
    """Return the intake of a student.

    Pixels that come as whole numbers are brought to -1 … 1, and a student that begins with
    ImageNet's weights gets its pictures normalized as those were.

    Args:
        contract: The teacher's.
        student: Its size, and what it begins with.
        how: How pictures become the teacher's input; None where they are not known to.

    Raises:
        OptionError: A size is wanted, and the input is no picture.
    """
    if student.size is not None and not contract.layout:
        raise OptionError(
            f"the teacher's input has the shape {list(contract.shape)}, which is no picture's.",
            where="--student-size",
        )
    if student.weights == "imagenet" and how is not None:
        return Intake(contract, student.size, *_as_imagenet(how))
    if contract.dtype == "uint8" and contract.layout:
        channels = contract.shape[0]
        return Intake(contract, student.size, [1 / 127.5] * channels, [-1.0] * channels)
    return Intake(contract, student.size)


def _as_imagenet(how: Preprocess) -> tuple[list[float], list[float]] | tuple[None, None]:
    """Return factor and offset of each channel that turn the teacher's numbers into ImageNet's."""
    theirs = list(zip(_IMAGENET_MEAN, _IMAGENET_STD, strict=True))
    if how.channels == "gray":
        theirs = [(sum(_IMAGENET_MEAN) / 3, sum(_IMAGENET_STD) / 3)]
    elif how.channels == "bgr":
        theirs.reverse()
    white = 255 * how.scale
    rows = [
        (std / (white * s), (mean / white - m) / s)
        for mean, std, (m, s) in zip(how.mean, how.std, theirs, strict=True)
    ]
    if all(abs(a - 1) < _TINY and abs(b) < _TINY for a, b in rows):
        return None, None
    return [a for a, _ in rows], [b for _, b in rows]


class Whole(nn.Module):  # type: ignore[misc]  # torch has no types here
    """The student with the teacher's input and output around it: what is exported.

    Args:
        contract: The teacher's.
        intake: From its planes to what the student looks at.
        body: The student, ``[N, C, h, w]`` to ``[N, columns]``.
    """

    def __init__(self, contract: Contract, intake: nn.Module, body: nn.Module) -> None:
        super().__init__()
        self.contract = contract
        self.intake = intake
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """Map the teacher's input to what stands for its output."""
        if x.dtype != torch.float32:
            x = x.float()
        if self.contract.layout == "nhwc":
            x = x.permute(0, 3, 1, 2)
        return self.finish(self.body(self.intake(x)))

    def finish(self, scores: Tensor) -> Tensor:
        """Turn the student's ``[N, columns]`` into the teacher's kind of output."""
        c = self.contract
        if c.probability and c.kind == "logit":
            scores = scores.sigmoid()
        if c.probability and c.kind == "classes":
            scores = scores.softmax(-1)
        if len(c.values) != 1:
            scores = scores.reshape(-1, *c.values)
        if c.probability and c.kind == "sequence":
            scores = scores.softmax(-1)
        wanted = getattr(torch, c.out_dtype)
        return scores.to(wanted) if wanted != torch.float32 else scores
