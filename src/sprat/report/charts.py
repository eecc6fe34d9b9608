"""The report's charts: size against accuracy, and bits per weight against sensitivity."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from markupsafe import Markup

from sprat.evaluate.types import Evaluation
from sprat.record.schema import CandidateRecord, Run, Source
from sprat.report.figures import short, signed, size
from sprat.report.labels import LINE_HEIGHT, Box, text_width
from sprat.report.marks import SQUARE, Point, data, intervals, names, symbols, text
from sprat.report.plane import (
    ACCENT,
    FONT_SIZE,
    INK,
    NARROW,
    PAPER,
    PEER,
    SOFT,
    STUDENT,
    WIDE,
    Plane,
    Shape,
    to_svg,
)
from sprat.report.texts import printable, say, word

_FRONT = "front"
_TRIAL = "tune"
_CURVES = {"rate-distortion": [1, 0], "rate-distortion-static": [2, 3], _FRONT: [1, 0]}
_COLOURS: dict[Source, str] = {"original": ACCENT, "student": STUDENT}
_SHAPES: dict[Source, str] = {"original": "circle", "student": "diamond"}
_LABEL_LENGTH = 26
_NAMED_LAYERS = 3


@dataclass(frozen=True)
class Drawn:
    """A chart with the classes by which the style sheet picks it."""

    language: str
    shape: str
    svg: Markup


def drawn(draw: Callable[[Run, str, Shape], Markup], run: Run) -> list[Drawn]:
    """Draw a chart in both languages and both shapes; nothing where there is nothing to draw."""
    charts = [
        Drawn(language, name, draw(run, language, shape))
        for language in ("en", "zh")
        for name, shape in (("wide", WIDE), ("narrow", NARROW))
    ]
    return [chart for chart in charts if chart.svg]


def size_chart(run: Run, language: str, shape: Shape) -> Markup:
    """Draw the drop in points against br-11 bytes for every candidate.

    Args:
        run: The run.
        language: ``en`` or ``zh``.
        shape: :data:`WIDE` or :data:`NARROW`.

    Returns:
        SVG, or nothing where no candidate was measured.
    """
    import altair as alt

    measured = [
        (c, c.wire.brotli, c.evaluation)
        for c in run.candidates
        if c.wire and c.evaluation and math.isfinite(c.evaluation.drop)
    ]
    if not measured:
        return Markup()
    sizes = [run.model.wire.brotli, *(count for _, count, _ in measured)]
    plane = _size_plane(run.choice.max_drop, sizes, [e for _, _, e in measured], shape)
    front = _front(run)
    tried = [_candidate(c, max(1, count), e, plane, front) for c, count, e in measured]
    points = [*tried, _original(run, language)]
    x, y = plane.axes(
        say("axis_bytes", language),
        say("axis_drop", language),
        "datum.value >= 1e6 ? format(datum.value / 1e6, '~r') + ' MB'"
        " : format(datum.value / 1e3, '~r') + ' kB'",
        "datum.value == 0 ? '0' : format(datum.value, '+.3~r')",
    )
    budget = f"{say('budget', language)} {run.choice.max_drop:g}"
    place = _budget_place(budget, run.choice.max_drop, plane)
    at = plane.point(place.left, (place.top + place.bottom) / 2)
    layers = [
        *_budget(run.choice.max_drop, plane, x, y),
        text([{"x": at[0], "y": at[1], "label": budget}], x, y),
        *_curves(
            [(c.source, _curve(c, front), p) for (c, _, _), p in zip(measured, tried, strict=True)],
            x,
            y,
        ),
        intervals(points, x, y),
        *symbols(points, x, y),
        *names(points, points, plane, x, y, [place]),
    ]
    words = say(
        "chart_desc",
        language,
        count=len(tried),
        metric=word(run.choice.validation.metric),
        chosen=_chosen_words(run),
    )
    return to_svg(alt.layer(*layers), shape, say("chart", language), words)


def bits_chart(run: Run, language: str, shape: Shape) -> Markup:
    """Draw bits per weight against sensitivity, a circle a layer.

    Args:
        run: The run.
        language: ``en`` or ``zh``.
        shape: :data:`WIDE` or :data:`NARROW`.

    Returns:
        SVG, or nothing where the layers' bits are unknown.
    """
    import altair as alt

    known = [b for b in run.layers if 0 < b.sensitivity < math.inf]
    if not known:
        return Markup()
    known.sort(key=lambda b: (-b.weights, b.name))
    points = [
        Point(
            x=b.sensitivity,
            y=b.bits_per_weight,
            area=30 + 900 * b.weights / max(1, known[0].weights),
            label=short(printable(b.name), _LABEL_LENGTH),
        )
        for b in known
    ]
    across, most = [p.x for p in points], max(p.y for p in points)
    plane = Plane(shape, (min(across) / 1.8, max(across) * 1.8), (0.0, 1.15 * most or 1.0))
    x, y = plane.axes(
        say("axis_sensitivity", language),
        say("bits", language),
        "format(datum.value, '.0e')",
        "format(datum.value, '~r')",
    )
    telling = sorted(points, key=lambda p: -p.x)[:_NAMED_LAYERS] + points[:_NAMED_LAYERS]
    layers = [
        *symbols(points, x, y, opacity=0.6),
        *names(list(dict.fromkeys(telling)), points, plane, x, y),
    ]
    words = say("bits_desc", language, count=len(points))
    return to_svg(alt.layer(*layers), shape, say("bits_chart", language), words)


def _size_plane(
    max_drop: float, sizes: Sequence[int], evaluations: Sequence[Evaluation], shape: Shape
) -> Plane:
    """Choose the axes: all sizes, and the drops near the budget; a collapse is clamped."""
    budget = max(max_drop, 0.25)
    near = [e.interval for e in evaluations if e.drop <= 2.5 * budget]
    top = max([1.6 * budget, *(min(i.high, 6 * budget) for i in near)])
    bottom = min([-0.4 * budget, *(max(i.low, -6 * budget) for i in near)])
    spare = 0.08 * (top - bottom)
    x = (max(1, min(sizes)) / 1.35, 1.5 * max(1, *sizes))
    return Plane(shape, x, (bottom - spare, top + spare))


def _front(run: Run) -> frozenset[str]:
    """Return the names of the trials on the front of a search."""
    tuned = run.tuning
    return frozenset() if tuned is None else frozenset(f"trial-{n}" for n in tuned.front)


def _curve(c: CandidateRecord, front: frozenset[str]) -> str:
    return _FRONT if c.name in front else c.method


def _candidate(
    c: CandidateRecord, count: int, e: Evaluation, plane: Plane, front: frozenset[str]
) -> Point:
    chosen, on_curve = c.outcome == "chosen", _curve(c, front) in _CURVES
    beyond = e.drop > plane.y[1]
    told_apart = on_curve or chosen or c.source == "student"
    colour = _COLOURS[c.source] if told_apart else PEER
    is_plain = on_curve or c.method == _TRIAL  # one of many: a name would tell nothing
    name = "" if is_plain and not chosen else short(printable(c.name), _LABEL_LENGTH)
    return Point(
        x=count,
        y=_clamp(e.drop, plane.y),
        area=170 if chosen else 62,
        label=f"{name} {signed(e.drop)}".strip() if beyond else name,
        low=_clamp(e.interval.low, plane.y),
        high=_clamp(e.interval.high, plane.y),
        stroke=colour,
        fill=PAPER if c.outcome == "over budget" else colour,
        shape="triangle-up" if beyond else _SHAPES[c.source],
        ring=chosen,
    )


def _original(run: Run, language: str) -> Point:
    return Point(
        x=max(1, run.model.wire.brotli),
        y=0.0,
        area=80,
        label=say("the_original", language),
        stroke=INK,
        fill=PAPER,
        shape=SQUARE,
    )


def _budget(max_drop: float, plane: Plane, x: Any, y: Any) -> list[Any]:
    """Return the layers that shade what is over the budget, with a line at its edge."""
    bar = min(max_drop, plane.y[1])
    edge = {"x": plane.x[0], "x2": plane.x[1], "y": bar, "y2": plane.y[1]}
    return [
        data([edge]).mark_rect(color=SOFT, opacity=0.08).encode(x=x, x2="x2:Q", y=y, y2="y2:Q"),
        data([edge, {**edge, "x": plane.x[1]}])
        .mark_line(strokeDash=[5, 4], color=SOFT, strokeWidth=1)
        .encode(x=x, y=y),
    ]


def _budget_place(label: str, max_drop: float, plane: Plane) -> Box:
    """Return where the budget's name goes: at the right end of its line, above it."""
    right, (_, bottom) = plane.shape.inner[0] - 2, plane.pixel(plane.x[0], max_drop)
    return Box(right - text_width(label, FONT_SIZE), bottom - 1 - LINE_HEIGHT, right, bottom - 1)


def _curves(tried: Sequence[tuple[Source, str, Point]], x: Any, y: Any) -> list[Any]:
    """Join the points of a front and of each rate-distortion method, the second's by dots."""
    layers = []
    for source, colour in _COLOURS.items():
        for method, dash in _CURVES.items():
            joined = [asdict(p) for of, name, p in tried if (of, name) == (source, method)]
            if len(joined) > 1:
                style = {"color": colour, "strokeWidth": 2, "opacity": 0.7, "strokeDash": dash}
                layers.append(data(joined).mark_line(**style).encode(x=x, y=y, order="x:Q"))
    return layers


def _chosen_words(run: Run) -> str:
    last = run.choice.validation
    count = run.outputs[0].wire.brotli
    return f"{run.choice.candidate}, {size(count)} br-11, {signed(last.drop)}"


def _clamp(value: float, bounds: tuple[float, float]) -> float:
    return min(max(value, bounds[0]), bounds[1])
