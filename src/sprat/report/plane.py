"""A chart's plane: where a point lies in pixels, its axes, and its SVG.

Colours are the page's own CSS variables, so one SVG is right by day, by night and on paper.
Every position is computed here and handed over in data units, so that a chart does not depend on
the fonts of the machine that draws it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

INK = "var(--ink, #1b2530)"
SOFT = "var(--soft, #56636f)"
LINE = "var(--line, #dfe5ea)"
PAPER = "var(--paper, #ffffff)"
ACCENT = "var(--accent, #0b6b87)"
PEER = "var(--peer, #7f8d9a)"
STUDENT = "var(--student, #a8480c)"
FONT_SIZE = 12


@dataclass(frozen=True)
class Shape:
    """The outer size of a chart in pixels, and the margins around its plot."""

    width: int
    height: int
    left: int = 46
    right: int = 14
    top: int = 30
    bottom: int = 54

    @property
    def narrow(self) -> bool:
        """Whether there is room for few names only."""
        return self.width < 500

    @property
    def inner(self) -> tuple[int, int]:
        """Width and height of the plot itself."""
        return self.width - self.left - self.right, self.height - self.top - self.bottom


#: For a desk and paper, and for a phone.
WIDE = Shape(width=860, height=400)
NARROW = Shape(width=356, height=340)


@dataclass(frozen=True)
class Plane:
    """A plot with a logarithmic x axis and a linear y axis."""

    shape: Shape
    x: tuple[float, float]
    y: tuple[float, float]

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point lies, from the plot's upper left corner."""
        width, height = self.shape.inner
        across = math.log(x / self.x[0]) / math.log(self.x[1] / self.x[0])
        return width * across, height * (self.y[1] - y) / (self.y[1] - self.y[0])

    def point(self, left: float, top: float) -> tuple[float, float]:
        """Return the point at a position in pixels: the inverse of :meth:`pixel`."""
        width, height = self.shape.inner
        x = self.x[0] * (self.x[1] / self.x[0]) ** (left / width)
        return x, self.y[1] - (self.y[1] - self.y[0]) * top / height

    def axes(self, x: str, y: str, x_label: str, y_label: str) -> tuple[Any, Any]:
        """Return Altair's channels for both axes.

        Args:
            x: Title of the x axis.
            y: Title of the y axis, which stands above it and is read without turning the head.
            x_label: Vega expression that writes an x value.
            y_label: The same for y.
        """
        import altair as alt

        width, _ = self.shape.inner
        ticks = _ticks(*self.x, most=4 if self.shape.narrow else 7)
        below = alt.Axis(
            title=x,
            values=ticks,
            labelExpr=x_label,
            grid=False,
            titleAnchor="end",
            titleX=width,
            titleY=32,
            titleAlign="right",
            titleBaseline="top",
        )
        beside = alt.Axis(
            title=y,
            labelExpr=y_label,
            tickCount=6,
            titleAngle=0,
            titleAlign="left",
            titleBaseline="bottom",
            titleX=-self.shape.left + 2,
            titleY=-14,
        )
        horizontal = alt.Scale(type="log", domain=list(self.x), nice=False, zero=False)
        vertical = alt.Scale(domain=list(self.y), nice=False, zero=False)
        return (
            alt.X("x:Q", scale=horizontal, axis=below),
            alt.Y("y:Q", scale=vertical, axis=beside),
        )


def _ticks(low: float, high: float, most: int) -> list[float]:
    """Return round values inside a range: 1-2-5 series, 1-3, or powers of ten by room."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        found = [d * 10.0**e for e in exponents for d in digits if low <= d * 10.0**e <= high]
        if len(found) <= most:
            return found
    return found[:: math.ceil(len(found) / most)]


def to_svg(chart: Any, shape: Shape, title: str, description: str) -> Markup:
    """Render an Altair chart to SVG with a title and a description for those who listen.

    Args:
        chart: Layers whose positions fit ``shape``.
        shape: The size.
        title: Its name.
        description: What it shows.

    Returns:
        The SVG element.
    """
    import vl_convert

    width, height = shape.inner
    axis = {
        "labelColor": SOFT,
        "titleColor": SOFT,
        "gridColor": LINE,
        "domainColor": LINE,
        "tickColor": LINE,
        "labelFontSize": FONT_SIZE,
        "titleFontSize": FONT_SIZE,
        "titleFontWeight": "normal",
        "labelOverlap": False,
        "labelBound": False,
    }
    shown = chart.properties(
        width=width,
        height=height,
        padding={
            "left": shape.left,
            "right": shape.right,
            "top": shape.top,
            "bottom": shape.bottom,
        },
        autosize={"type": "none"},
        background="transparent",
    ).configure(axis=axis, view={"stroke": None}, font="inherit", aria=False)
    svg: str = vl_convert.vegalite_to_svg(shown.to_dict())
    start, end = svg.split(">", 1)
    return Markup(
        f'{start} role="img"><title>{escape(title)}</title><desc>{escape(description)}</desc>{end}'
    )
