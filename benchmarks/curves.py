"""One picture for curves of bytes against divergence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import vl_convert


def curves(points: Sequence[dict[str, Any]], kind: str, said: str) -> str:
    """Draw bytes against divergence, a panel a model, a colour a kind.

    Args:
        points: Each with ``model``, ``bytes``, ``divergence`` and its kind.
        kind: Name of the field that says of which kind a point is.
        said: What the kinds are, for the legend.

    Returns:
        An SVG.
    """
    base = alt.Chart(alt.InlineData(values=list(points))).encode(
        x=alt.X("bytes:Q", scale=alt.Scale(type="log"), title="br-11 bytes (log scale)"),
        y=alt.Y("divergence:Q", scale=alt.Scale(type="log"), title="divergence (log scale)"),
        color=alt.Color(f"{kind}:N", title=said),
    )
    panel = base.mark_line(opacity=0.6) + base.mark_point(filled=True, size=50)
    chart = panel.properties(width=300, height=240).facet(column=alt.Column("model:N", title=None))
    svg: str = vl_convert.vegalite_to_svg(chart.resolve_scale(x="independent").to_json())
    return svg
