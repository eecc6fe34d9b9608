"""Weights to begin with: none, a file, or ImageNet's, downloaded only when asked for by name."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from sprat.distillation.configs import Student
from sprat.errors import OptionError


def take_in(body: nn.Module, student: Student, *, of_torchvision: bool) -> tuple[str, ...]:
    """Put weights into a network, where any are asked for.

    Tensors of another shape, as the last layer of another number of classes has them, keep what
    they were initialized with.

    Args:
        body: The network, changed in place.
        student: Says which weights.
        of_torchvision: The network is one of torchvision's. Names alone do not say so: timm has
            some of the same, with weights of its own.

    Returns:
        In words what was taken.

    Raises:
        OptionError: The file cannot be read, the download fails, or nothing fits.
    """
    if student.weights == "none":
        return ()
    if student.weights == "imagenet":
        if not of_torchvision:
            return _as_made(student)
        found = _downloaded(student)
    else:
        found = _read(Path(student.weights))
    own = body.state_dict()
    fit = {k: v for k, v in found.items() if k in own and own[k].shape == v.shape}
    learned = sum(1 for name, _ in body.named_parameters() if name in fit)
    if not learned:
        raise OptionError(
            f"none of the {len(found)} tensors fits {student.name} at width {student.width:g}.",
            where=f"--weights {student.weights}",
        )
    body.load_state_dict(fit, strict=False)
    return (f"{len(fit)} of {len(own)} tensors begin with the weights of {student.weights}",)


def _as_made(student: Student) -> tuple[str, ...]:
    """Say what timm has loaded already; the user's own function was not asked to."""
    if ":" in student.name:
        raise OptionError(
            f"there are none for {student.name}.",
            where="--weights imagenet",
            hint="Load them in your function, or give a file of a state dict.",
        )
    return (f"{student.name} begins with the weights that timm has for it",)


def _downloaded(student: Student) -> dict[str, Tensor]:
    if student.width != 1:
        raise OptionError(
            f"there are none for {student.name} at width {student.width:g}.",
            where="--weights imagenet",
            hint="Take --width 1, or --weights none.",
        )
    weights = torchvision.models.get_model_weights(student.name).DEFAULT
    try:
        found: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong hash is the other
        raise OptionError(
            f"{weights.url} cannot be downloaded ({error}).",
            where="--weights imagenet",
            hint="Fetch it where there is a network and give --weights FILE, or begin with "
            "--weights none.",
        ) from error
    return found


def _read(path: Path) -> dict[str, Tensor]:
    """Read a state dict without running any code that it may hold."""
    where = f"--weights {path}"
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise OptionError(
            f"cannot be read ({error.strerror}).",
            where=where,
            hint="Give a file, or imagenet or none.",
        ) from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise OptionError(
            f"is no state dict ({reason}).",
            where=where,
            hint="Write it with torch.save(model.state_dict(), FILE).",
        ) from error
    inner = found.get("state_dict", found) if isinstance(found, dict) else found
    if not isinstance(inner, dict) or not all(isinstance(v, Tensor) for v in inner.values()):
        raise OptionError(
            "holds something else than a state dict.",
            where=where,
            hint="Write it with torch.save(model.state_dict(), FILE).",
        )
    return {str(name).removeprefix("module."): value for name, value in inner.items()}
