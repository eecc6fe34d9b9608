"""What stands around a student, so that it keeps the teacher's input and output."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sprat.data.preprocess import Preprocess
from sprat.distillation.configs import Student
from sprat.distillation.contract import Contract
from sprat.errors import OptionError

#: Pixels by which a resize aims above its size, so that rounding down gives that size.
_HAIR = 0.01
#: How far from 1 and 0 a factor and an offset change nothing.
_TINY = 1e-7
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


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
