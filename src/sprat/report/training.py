"""The report's chart of a student's training."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from markupsafe import Markup

from sprat.record.schema import DistillationRecord, Run
from sprat.report.figures import percent
from sprat.report.marks import Point, data, names, symbols
from sprat.report.plane import ACCENT, PEER, Plane, Shape, to_svg
from sprat.report.texts import say, word


def training_chart(run: Run, language: str, shape: Shape) -> Markup:
    """Draw what the student scored on val after each epoch, and how far it follows the teacher.

    Args:
        run: The run.
        language: ``en`` or ``zh``.
        shape: The size.

    Returns:
        SVG, or nothing where no student was taught.
    """
    import altair as alt

    taught = run.distillation
    if taught is None or not taught.curve:
        return Markup()
    metric: str = getattr(word(run.choice.validation.metric), language)
    lines = {metric: _line(taught, "score"), say("agrees", language): _line(taught, "agreement")}
    heights = [value for line in lines.values() for _, value in line]
    low, high = min(heights), max(heights)
    spare = 0.08 * max(high - low, 0.02)
    plane = Plane(shape, (0.93, 1.08 * len(taught.curve)), (low - spare, high + spare))
    x, y = plane.axes(
        say("axis_epoch", language),
        say("axis_score", language),
        "format(datum.value, '~r')",
        "format(datum.value, '.3~p')",
    )
    marked: list[Point] = []
    layers: list[Any] = []
    for (name, line), colour in zip(lines.items(), (ACCENT, PEER), strict=True):
        points = [Point(x=e, y=v, area=14, stroke=colour, fill=colour) for e, v in line]
        rows = [asdict(point) for point in points]
        drawn = data(rows).mark_line(color=colour, strokeWidth=2, opacity=0.8)
        layers += [drawn.encode(x=x, y=y, order="x:Q"), *symbols(points, x, y)]
        end = line[-1]
        marked.append(Point(x=end[0], y=end[1], area=14, label=name, stroke=colour, fill=colour))
    best = taught.curve[taught.best - 1]
    label = say("best_epoch", language, epoch=best.epoch, score=percent(best.score))
    ring = Point(x=best.epoch, y=best.score, area=62, label=label, ring=True)
    layers += [*symbols([ring], x, y), *names([ring, *marked], [ring, *marked], plane, x, y)]
    words = say("training_desc", language, count=len(taught.curve), best=label)
    return to_svg(alt.layer(*layers), shape, say("training", language), words)


def _line(taught: DistillationRecord, figure: str) -> list[tuple[int, float]]:
    values = ((row.epoch, float(getattr(row, figure))) for row in taught.curve)
    return [(epoch, value) for epoch, value in values if math.isfinite(value)]
