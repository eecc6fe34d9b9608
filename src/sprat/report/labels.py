"""Where the names of a chart's points go, so that they lie on nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

#: Pixels, at the charts' font size.
LINE_HEIGHT = 15.0
_ROWS = 9
_WIDE_FROM = 0x2E80


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Say whether the two overlap."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def within(self, other: Box) -> bool:
        """Say whether this one lies inside the other."""
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.top >= other.top
            and self.bottom <= other.bottom
        )


def text_width(text: str, em: float) -> float:
    """Estimate the width of a text in pixels: 0.58 em a letter, 1 em a wide (CJK) one."""
    return sum(em if ord(c) >= _WIDE_FROM else 0.58 * em for c in text)


def place(
    points: Sequence[tuple[float, float]],
    reaches: Sequence[float],
    widths: Sequence[float],
    frame: Box,
    obstacles: Sequence[Box] = (),
) -> list[Box | None]:
    """Place a label for each point: greedily, in the order given, in the nearest free spot.

    Args:
        points: Positions in pixels, the most important first.
        reaches: How far beside its point a label begins, in pixels.
        widths: Width of each label in pixels.
        frame: Where labels may lie.
        obstacles: What they may not cover, besides one another.

    Returns:
        A box for each label, None where there is no room.
    """
    taken = list(obstacles)
    placed: list[Box | None] = []
    for (x, y), reach, width in zip(points, reaches, widths, strict=True):
        free = (
            spot
            for spot in _spots(x, y, reach, width)
            if spot.within(frame) and not any(spot.meets(other) for other in taken)
        )
        box = next(free, None)
        placed.append(box)
        if box is not None:
            taken.append(box)
    return placed


def _spots(x: float, y: float, reach: float, width: float) -> Iterator[Box]:
    """Yield boxes around a point: beside it, then row by row above and below."""
    for row in range(_ROWS):
        for sign in (-1, 1) if row else (0,):
            middle = y + sign * row * LINE_HEIGHT
            lefts = [x + reach, x - reach - width]
            if row:
                lefts.append(x - width / 2)
            for left in lefts:
                yield Box(left, middle - LINE_HEIGHT / 2, left + width, middle + LINE_HEIGHT / 2)
