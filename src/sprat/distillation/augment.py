"""Views of a picture that mean the same, made for a whole batch at once.

Every picture of a batch gets its own turn, zoom, shift, bend and line width. torchvision's
transforms draw one set of numbers for a batch, and called picture by picture they take longer than
a small student's whole step, so the field of sampling points is made here and torch's
``grid_sample`` reads it once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from sprat.distillation.configs import Recipe

Augmentation = Callable[[Tensor, torch.Generator], Tensor]

#: A drawing turns by so many degrees at most, is drawn smaller or larger by so much, and is shifted
#: by so much of its side.
_TURN, _ZOOM, _SHIFT = 15.0, 0.15, 0.08
#: Elastic bends (Simard, Steinkraus and Platt 2003): knots a side, and how far they move.
_KNOTS, _BEND = 5, 0.03
#: A photo is cut to this much of its side at least.
_CUT = 0.65
_LIGHT = 0.3
#: A picture is a drawing where so much of it is within a tenth of its range from its border.
_PAPER, _NEAR = 0.6, 0.1


def augmentation(recipe: Recipe, pictures: Tensor | None) -> tuple[Augmentation, str]:
    """Choose how views are made.

    Args:
        recipe: Says how, or to look.
        pictures: ``[N, C, H, W]`` some of the training pictures; None where the input is none.

    Returns:
        The function from ``[N, C, H, W]`` and a generator to views of the same shape, and its name.
    """
    kind = recipe.augment
    if pictures is None:
        kind = "none"
    elif kind == "auto":
        kind = "drawing" if is_drawing(pictures) else "photo"
    if kind == "none":
        return _same, kind
    mirror = kind == "photo" if recipe.mirror is None else recipe.mirror
    how = drawing if kind == "drawing" else photo
    return partial(how, mirror=mirror), f"{kind}{', mirrored' if mirror else ''}"


def is_drawing(pictures: Tensor) -> bool:
    """Say whether pictures are lines on a plain ground: ``[N, C, H, W]``."""
    span = (pictures.amax() - pictures.amin()).clamp(min=1e-6)
    near = (pictures - ground(pictures)).abs() < _NEAR * span
    return bool(near.float().mean() >= _PAPER)


def ground(x: Tensor) -> Tensor:
    """Return what a picture's border is most like, ``[N, C, 1, 1]``: the border's median."""
    border = torch.cat([x[..., 0, :], x[..., -1, :], x[..., :, 0], x[..., :, -1]], -1)
    return border.median(-1).values[..., None, None]


def drawing(x: Tensor, generator: torch.Generator, *, mirror: bool) -> Tensor:
    """Turn, zoom, shift and bend drawings, and draw their lines thicker or thinner.

    Args:
        x: ``[N, C, H, W]``.
        generator: Of the random numbers, on the CPU.
        mirror: Whether half of them are mirrored.

    Returns:
        The views, on grounds like their own.
    """
    count = len(x)
    angle = math.radians(_TURN) * _uniform((count,), generator)
    zoom = 1 + _ZOOM * _uniform((count,), generator)
    shift = 2 * _SHIFT * _uniform((count, 2), generator)
    grid = _affine(x, angle, zoom, shift, mirror, generator) + _bend(x, generator)
    paper = ground(x)
    return _sampled(_redrawn(x - paper, generator), grid, "zeros") + paper


def photo(x: Tensor, generator: torch.Generator, *, mirror: bool) -> Tensor:
    """Cut photos, and change their light and contrast; arguments as of :func:`drawing`."""
    count = len(x)
    zoom = 1 - (1 - _CUT) * torch.rand(count, generator=generator)
    shift = (1 - zoom)[:, None] * _uniform((count, 2), generator)
    grid = _affine(x, torch.zeros(count), zoom, shift, mirror, generator)
    cut = _sampled(x, grid, "border")
    mean = cut.mean((1, 2, 3), keepdim=True)
    contrast = 1 + _LIGHT * _uniform((count, 1, 1, 1), generator).to(x.device)
    light = _LIGHT * _uniform((count, 1, 1, 1), generator).to(x.device)
    spread = cut.std((1, 2, 3), keepdim=True)
    return mean + contrast * (cut - mean) + light * spread


def _same(x: Tensor, _generator: torch.Generator) -> Tensor:
    return x


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw from -1 to 1."""
    return 2 * torch.rand(shape, generator=generator) - 1


def _affine(
    x: Tensor,
    angle: Tensor,
    zoom: Tensor,
    shift: Tensor,
    mirror: bool,
    generator: torch.Generator,
) -> Tensor:
    """Return where each pixel of the views is read, ``[N, H, W, 2]``, -1 to 1 over the picture."""
    count, _, height, width = x.shape
    sign = torch.ones(count)
    if mirror:
        sign = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    slope = height / width  # so that a turn is a turn where the picture is no square
    first = torch.stack([sign * cos, -sin * slope, shift[:, 0]], 1)
    second = torch.stack([sign * sin / slope, cos, shift[:, 1]], 1)
    theta = torch.stack([first, second], 1).to(x.device)
    grid: Tensor = functional.affine_grid(theta, list(x.shape), align_corners=False)
    return grid


def _bend(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return a smooth random field of displacements, ``[N, H, W, 2]``."""
    knots = 2 * _BEND * _uniform((len(x), 2, _KNOTS, _KNOTS), generator)
    field = functional.interpolate(
        knots.to(x.device), size=x.shape[-2:], mode="bicubic", align_corners=True
    )
    return field.permute(0, 2, 3, 1)


def _sampled(x: Tensor, grid: Tensor, beyond: Literal["zeros", "border"]) -> Tensor:
    found: Tensor = functional.grid_sample(x, grid, padding_mode=beyond, align_corners=False)
    return found


def _redrawn(lines: Tensor, generator: torch.Generator) -> Tensor:
    """Blend lines on a ground of 0 with themselves a pixel thicker, or thinner.

    Args:
        lines: ``[N, C, H, W]``.
        generator: Of the random numbers.
    """
    more = _uniform((len(lines), 1, 1, 1), generator).to(lines.device)
    ink = lines.sum((1, 2, 3), keepdim=True).sign()  # darker or lighter than its ground
    way = torch.where(more > 0, ink, -ink)  # the ground grows over the ink, or the ink over it
    other = way * _widest(way * lines)
    # Thin lines vanish sooner than thick ones merge: less of the way down.
    return torch.lerp(lines, other, torch.where(more > 0, more, -0.5 * more))


def _widest(x: Tensor) -> Tensor:
    """Return the largest of each 3 x 3 block, row by row and column by column."""
    rows = functional.max_pool2d(x, (1, 3), 1, (0, 1))
    found: Tensor = functional.max_pool2d(rows, (3, 1), 1, (1, 0))
    return found
