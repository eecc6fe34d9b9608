"""Points with names: what both charts are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from sprat.report.labels import Box, place, text_width
from sprat.report.plane import ACCENT, FONT_SIZE, INK, PEER, Plane

Align = Literal["left", "right"]

#: Names of points that lie closer than this, in pixels, become one on a narrow chart.
_TOGETHER = 9.0
_RING = 480

#: The shape of the original; its name and that of the chosen point are placed first.
SQUARE = "square"


@dataclass(frozen=True)
class Point:
    """A point of a chart.

    Attributes:
        x: Position on the logarithmic axis, above 0.
        y: Position on the linear axis.
        area: Square pixels.
        label: Its name; empty for none.
        low: Lower end of its interval, on the y axis.
        high: Upper end of it.
        stroke: Colour of outline and interval.
        fill: Colour inside.
        shape: Vega's name of the shape.
        ring: Whether a ring marks it out, and its name goes first.
    """

    x: float
    y: float
    area: float
    label: str = ""
    low: float = 0.0
    high: float = 0.0
    stroke: str = ACCENT
    fill: str = ACCENT
    shape: str = "circle"
    ring: bool = False


def data(rows: Sequence[dict[str, Any]]) -> Any:
    """Return an Altair chart over rows that are part of it: nothing is loaded."""
    import altair as alt

    return alt.Chart(alt.InlineData(values=list(rows)))


def symbols(points: Sequence[Point], x: Any, y: Any, opacity: float = 1.0) -> list[Any]:
    """Return the layers that draw the points themselves."""
    import altair as alt

    rings = [asdict(p) for p in points if p.ring]
    layers = []
    if rings:
        ring = data(rings).mark_point(size=_RING, color=ACCENT, strokeWidth=1.5, opacity=1)
        layers.append(ring.encode(x=x, y=y))
    marks = data([asdict(p) for p in points]).mark_point(strokeWidth=1.8, opacity=opacity)
    layers.append(
        marks.encode(
            x=x,
            y=y,
            stroke=alt.Stroke("stroke:N", scale=None),
            fill=alt.Fill("fill:N", scale=None),
            size=alt.Size("area:Q", scale=None),
            shape=alt.Shape("shape:N", scale=None),
        )
    )
    return layers


def intervals(points: Sequence[Point], x: Any, y: Any) -> Any:
    """Return the layer that draws each point's interval as a line through it."""
    import altair as alt

    low = y.copy()
    low.shorthand = "low:Q"
    lines = data([asdict(p) for p in points if p.high > p.low]).mark_rule(
        strokeWidth=1.5, opacity=0.55
    )
    return lines.encode(x=x, y=low, y2="high:Q", color=alt.Color("stroke:N", scale=None))


def names(
    named: Sequence[Point],
    every: Sequence[Point],
    plane: Plane,
    x: Any,
    y: Any,
    obstacles: Sequence[Box] = (),
) -> list[Any]:
    """Return the layers that name points, joined by a line where a name lies apart.

    Args:
        named: The points to name.
        every: All points of the chart: no name lies on one.
        plane: Where they lie.
        x: Channel of the x axis.
        y: Channel of the y axis.
        obstacles: What else no name may lie on, in pixels.
    """
    import altair as alt

    wanted = sorted((p for p in named if p.label), key=lambda p: (not p.ring, p.shape != SQUARE))
    if plane.shape.narrow:
        wanted = _merged(wanted, plane)
    boxes = _boxes(wanted, every, plane, obstacles)
    texts: dict[Align, list[dict[str, Any]]] = {"left": [], "right": []}
    leaders = []
    for point, box in zip(wanted, boxes, strict=True):
        if box is None:
            continue
        left, top = plane.pixel(point.x, point.y)
        middle = (box.top + box.bottom) / 2
        # The width is an estimate: what stands left of its point ends there, however long it is.
        align: Align = "right" if box.right <= left else "left"
        at_x, at_y = plane.point(box.right if align == "right" else box.left, middle)
        texts[align].append({"x": at_x, "y": at_y, "label": point.label})
        if abs(middle - top) > 1:
            near = min(max(left, box.left), box.right)
            end_x, end_y = plane.point(near, middle + math.copysign(6, top - middle))
            leaders.append({"x": point.x, "y": point.y, "x2": end_x, "y2": end_y})
    layers = []
    if leaders:
        thin = data(leaders).mark_rule(color=PEER, strokeWidth=1)
        layers.append(thin.encode(x=x, y=y, x2=alt.X2("x2:Q"), y2=alt.Y2("y2:Q")))
    return [*layers, *(text(rows, x, y, align) for align, rows in texts.items() if rows)]


def text(rows: Sequence[dict[str, Any]], x: Any, y: Any, align: Align = "left") -> Any:
    """Return the layer that writes ``label`` from ``x``, ``y`` on, or up to it."""
    mark = data(rows).mark_text(align=align, baseline="middle", color=INK, fontSize=FONT_SIZE)
    return mark.encode(x=x, y=y, text="label:N")


def _boxes(
    wanted: Sequence[Point], every: Sequence[Point], plane: Plane, obstacles: Sequence[Box]
) -> list[Box | None]:
    width, height = plane.shape.inner
    taken = list(obstacles)
    for point in every:
        left, top = plane.pixel(point.x, point.y)
        radius = _radius(point)
        taken.append(Box(left - radius, top - radius, left + radius, top + radius))
    return place(
        [plane.pixel(p.x, p.y) for p in wanted],
        [_radius(p) + 4 for p in wanted],
        [text_width(p.label, FONT_SIZE) for p in wanted],
        Box(2, -4, width + plane.shape.right, height - 2),
        taken,
    )


def _radius(point: Point) -> float:
    return 1 + math.sqrt((_RING if point.ring else point.area) / math.pi)


def _merged(points: Sequence[Point], plane: Plane) -> list[Point]:
    """Name points that lie together once: the first one's name and how many more there are."""
    groups: list[list[Point]] = []
    for point in points:
        at = plane.pixel(point.x, point.y)
        for group in groups:
            first = group[0]
            like = not first.ring and first.shape == point.shape == "circle"
            if like and math.dist(at, plane.pixel(first.x, first.y)) < _TOGETHER:
                group.append(point)
                break
        else:
            groups.append([point])
    return [
        replace(g[0], label=f"{g[0].label} +{len(g) - 1}") if len(g) > 1 else g[0] for g in groups
    ]
