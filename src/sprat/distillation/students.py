"""The networks that can learn: torchvision's small ones, timm's, or the user's own."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn
from torchvision.models import efficientnet, mnasnet, shufflenetv2

from sprat.distillation.configs import Student
from sprat.distillation.weights import take_in
from sprat.errors import OptionError
from sprat.imported import importable, imported

#: Depths and channels of shufflenet_v2, by the number in its name (Ma et al. 2018, table 5).
_SHUFFLENET = {
    "x0_5": (24, 48, 96, 192, 1024),
    "x1_0": (24, 116, 232, 464, 1024),
    "x1_5": (24, 176, 352, 704, 1024),
    "x2_0": (24, 244, 488, 976, 2048),
}
_SHUFFLENET_DEPTHS = (4, 8, 4)
#: Blocks of efficientnet_b0 (Tan and Le 2019, table 1): expansion, kernel, stride, in, out, layers.
_EFFICIENTNET_B0 = (
    (1, 3, 1, 32, 16, 1),
    (6, 3, 2, 16, 24, 2),
    (6, 5, 2, 24, 40, 2),
    (6, 3, 2, 40, 80, 3),
    (6, 5, 1, 80, 112, 3),
    (6, 5, 2, 112, 192, 4),
    (6, 3, 1, 192, 320, 1),
)
#: Networks of torchvision by name; ``width`` says whether their channels can be scaled.
_WIDE = (
    *("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "efficientnet_b0"),
    *("mnasnet0_5", "mnasnet0_75", "mnasnet1_0", "mnasnet1_3"),
    *(f"shufflenet_v2_{name}" for name in _SHUFFLENET),
)
NAMES = tuple(sorted((*_WIDE, "resnet18")))


def build(
    student: Student, columns: int, channels: int, size: tuple[int, ...]
) -> tuple[nn.Module, tuple[str, ...]]:
    """Make a student.

    Args:
        student: Which, how wide, with what weights.
        columns: Values that it gives for one sample.
        channels: Of the pictures.
        size: Height and width that it looks at.

    Returns:
        A network from ``[N, channels, *size]`` to ``[N, columns]``, and in words what was taken of
        the weights. Without weights they are as ``torch.manual_seed`` makes them.

    Raises:
        OptionError: There is no such network, it has no such width, or the weights do not fit.
    """
    student.check()
    body = _network(student, columns, channels, size)
    return body, take_in(body, student, of_torchvision=student.name in NAMES)


def has_widths(name: str) -> bool:
    """Say whether a network's channels can be scaled."""
    return name in _WIDE


def parameters(student: Student, columns: int, channels: int, size: tuple[int, ...]) -> int:
    """Return how many parameters a student has; arguments and errors are those of :func:`build`."""
    with torch.random.fork_rng():
        body, _ = build(student, columns, channels, size)
    return sum(p.numel() for p in body.parameters())


def _network(student: Student, columns: int, channels: int, size: tuple[int, ...]) -> nn.Module:
    name = student.name
    if ":" in name:
        return _own(student, columns, channels, size)
    if name in NAMES:
        body = _torchvision(name, student.width, columns)
        return body if channels == 3 else _with_channels(body, channels)
    has_timm = find_spec("timm") is not None
    if has_timm and importlib.import_module("timm").is_model(name):
        return _timm(student, columns, channels)
    more = "" if has_timm else " timm, once installed, adds its own."
    raise OptionError(
        f"there is no network {name!r}; torchvision has {', '.join(NAMES)}.{more}",
        where="--student",
        hint="Or give your own as package.module:function.",
    )


def _torchvision(name: str, width: float, columns: int) -> nn.Module:
    if width == 1 or name.startswith("mobilenet"):
        more = {"width_mult": width} if name.startswith("mobilenet") else {}
        return torchvision.models.get_model(name, weights=None, num_classes=columns, **more)
    if name.startswith("mnasnet"):
        alpha = float(name.removeprefix("mnasnet").replace("_", ".")) * width
        return mnasnet.MNASNet(alpha, num_classes=columns)
    if name.startswith("shufflenet"):
        channels = [_even(c * width) for c in _SHUFFLENET[name.removeprefix("shufflenet_v2_")]]
        return shufflenetv2.ShuffleNetV2(list(_SHUFFLENET_DEPTHS), channels, num_classes=columns)
    if name == "efficientnet_b0":
        block = partial(efficientnet.MBConvConfig, width_mult=width, depth_mult=1.0)
        rows = [block(*row) for row in _EFFICIENTNET_B0]
        return efficientnet.EfficientNet(rows, dropout=0.2, num_classes=columns)
    raise _one_width(name)


def _timm(student: Student, columns: int, channels: int) -> nn.Module:
    """Make a network of timm; with ImageNet's weights if they are asked for by that word."""
    _refuse_width(student)
    wants_weights = student.weights == "imagenet"
    try:
        made: nn.Module = importlib.import_module("timm").create_model(
            student.name, pretrained=wants_weights, num_classes=columns, in_chans=channels
        )
    except Exception as error:  # timm and its hub raise many unrelated classes
        reason = next(iter(str(error).splitlines()), "")
        raise OptionError(
            f"timm cannot make {student.name} ({type(error).__name__}: {reason}).",
            where="--weights imagenet" if wants_weights else "--student",
            hint="Fetch the weights where there is a network and give --weights FILE, or begin "
            "with --weights none."
            if wants_weights
            else "",
        ) from error
    return made


def _even(channels: float) -> int:
    """Round to a multiple of four: each half of a shuffled layer has an even count."""
    return max(8, round(channels / 4) * 4)


def _refuse_width(student: Student) -> None:
    if student.width != 1:
        raise _one_width(student.name)


def _one_width(name: str) -> OptionError:
    return OptionError(
        f"{name} comes in one width.",
        where="--width",
        hint=f"These have others: {', '.join(_WIDE)}.",
    )


def _with_channels(body: nn.Module, channels: int) -> nn.Module:
    """Give a network's first convolution another number of channels."""
    for name, module in body.named_modules():
        if isinstance(module, nn.Conv2d):
            parent = body.get_submodule(name.rpartition(".")[0])
            made = nn.Conv2d(
                channels,
                module.out_channels,
                module.kernel_size,
                module.stride,
                module.padding,
                bias=module.bias is not None,
            )
            nn.init.kaiming_normal_(made.weight, mode="fan_out")
            setattr(parent, name.rpartition(".")[2], made)
            return body
    raise AssertionError("the networks of torchvision begin with a convolution")


def _own(student: Student, columns: int, channels: int, size: tuple[int, ...]) -> nn.Module:
    """Call ``package.module:function(columns, channels, size)``."""
    _refuse_width(student)
    with importable(Path.cwd()):
        function: Callable[..., Any] = imported(student.name, "--student")
        try:
            made = function(columns=columns, channels=channels, size=tuple(size))
        except Exception as error:  # the user's own code raises what it likes
            raise OptionError(
                f"{student.name} failed ({type(error).__name__}: {error}).",
                where="--student",
                hint="It is called as function(columns=…, channels=…, size=(height, width)), and "
                "returns a torch.nn.Module from [N, channels, height, width] to [N, columns].",
            ) from error
    if not isinstance(made, nn.Module):
        raise OptionError(
            f"{student.name} gave {type(made).__name__}; it must give a torch.nn.Module.",
            where="--student",
        )
    return made
