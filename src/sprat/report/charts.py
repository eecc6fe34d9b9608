"""The report's charts: Altair, rendered to SVG by vl-convert."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sprat.record.schema import CandidateRecord, Run

_INK = {"light": "#1c2733", "dark": "#e4ebf2"}
_FAINT = {"light": "#d5dde5", "dark": "#36434f"}
_ACCENT = {"light": "#0b6e8a", "dark": "#5cc8e4"}
_MUTED = {"light": "#7b8a99", "dark": "#93a3b3"}
_CURVE = "rate-distortion"


def size_chart(run: Run, theme: str) -> str:
    """Draw drop against bytes for every candidate.

    Args:
        run: The run.
        theme: ``light`` or ``dark``.

    Returns:
        SVG, or nothing where no candidate was measured.
    """
    import altair as alt

    rows = [_row(c) for c in run.candidates if c.wire is not None and c.evaluation is not None]
    if not rows:
        return ""
    ink, accent, muted = _INK[theme], _ACCENT[theme], _MUTED[theme]
    top = max(run.choice.max_drop * 4, 1.0)
    for row in rows:
        row["shown"] = min(row["drop"], top)
        row["low"], row["high"] = max(row["low"], -top), min(row["high"], top)
    x = alt.X("MB:Q", scale=alt.Scale(type="log"), title="br-11, MB")
    y = alt.Y("shown:Q", title="drop, points", scale=alt.Scale(domain=[-top, top]))
    colour = alt.condition("datum.chosen", alt.value(accent), alt.value(muted))
    base = alt.Chart(alt.InlineData(values=rows))
    layers = [
        alt.Chart(alt.InlineData(values=[{"budget": run.choice.max_drop}]))
        .mark_rule(strokeDash=[5, 4], color=accent)
        .encode(y="budget:Q"),
        base.transform_filter(f"datum.method == '{_CURVE}'")
        .mark_line(color=accent, strokeWidth=1.5, opacity=0.6)
        .encode(x=x, y=y, order="MB:Q"),
        base.mark_rule(opacity=0.5).encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour),
        base.mark_point(filled=True, opacity=1).encode(
            x=x,
            y=y,
            color=colour,
            size=alt.condition("datum.chosen", alt.value(170), alt.value(60)),
        ),
        base.transform_filter("datum.label != ''")
        .mark_text(align="left", dx=8, dy=-8, color=ink, fontSize=11)
        .encode(x=x, y=y, text="label:N"),
    ]
    return _svg(alt.layer(*layers), theme, 300)


def bits_chart(run: Run, theme: str) -> str:
    """Draw bits per weight against sensitivity, a point a layer.

    Args:
        run: The run.
        theme: ``light`` or ``dark``.

    Returns:
        SVG, or nothing where the layers' bits are unknown.
    """
    import altair as alt

    rows = [
        {"bits": b.bits_per_weight, "cost": max(b.sensitivity, 1e-9), "weights": b.weights}
        for b in run.layers
    ]
    if not rows:
        return ""
    chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_point(filled=True, color=_ACCENT[theme], opacity=0.75)
        .encode(
            x=alt.X("cost:Q", scale=alt.Scale(type="log"), title="divergence of this layer alone"),
            y=alt.Y("bits:Q", title="bits per weight"),
            size=alt.Size("weights:Q", legend=None),
        )
    )
    return _svg(chart, theme, 220)


def _row(c: CandidateRecord) -> dict[str, Any]:
    assert c.wire is not None
    assert c.evaluation is not None
    e, chosen = c.evaluation, c.outcome == "chosen"
    return {
        "label": c.name if chosen or c.method != _CURVE else "",
        "method": c.method,
        "MB": c.wire.brotli / 1e6,
        "drop": e.drop,
        "low": e.interval.low,
        "high": e.interval.high,
        "chosen": chosen,
    }


def _svg(chart: Any, theme: str, height: int) -> str:
    import vl_convert

    ink, faint = _INK[theme], _FAINT[theme]
    axis = {
        "labelColor": ink,
        "titleColor": ink,
        "gridColor": faint,
        "domainColor": faint,
        "tickColor": faint,
        "titleFontWeight": "normal",
    }
    shown = chart.properties(width=560, height=height, background="transparent").configure(
        axis=axis, view={"stroke": None}, font="system-ui, sans-serif"
    )
    svg: str = vl_convert.vegalite_to_svg(shown.to_dict())
    return svg


def themes(draw: Any, run: Run) -> Sequence[tuple[str, str]]:
    """Return each theme with its SVG; nothing where there is none."""
    drawn = [(theme, draw(run, theme)) for theme in ("light", "dark")]
    return [(theme, svg) for theme, svg in drawn if svg]
