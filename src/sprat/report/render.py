"""``report.html``: one self-contained file that a person shows to a team."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sprat.evaluate.types import Evaluation
from sprat.model.wire import (
    NETWORKS_MBPS,
    RUNTIME_BROTLI_BYTES,
    download_seconds,
)
from sprat.record.schema import Run
from sprat.report.charts import bits_chart, size_chart, themes
from sprat.report.pictures import thumbnail
from sprat.report.texts import TEXTS

_SHOWN_FLIPS = 24
_SHOWN_LAYERS = 30

#: The only script: it switches the language. The page works without it, in English.
_SCRIPT = """
(function () {
  var root = document.documentElement;
  function set(lang) {
    root.lang = lang; root.dataset.lang = lang;
    document.querySelectorAll("button[data-set]").forEach(function (b) {
      b.setAttribute("aria-pressed", String(b.dataset.set === lang));
    });
  }
  set((navigator.language || "en").toLowerCase().indexOf("zh") === 0 ? "zh" : "en");
  document.querySelectorAll("button[data-set]").forEach(function (b) {
    b.addEventListener("click", function () { set(b.dataset.set); });
  });
})();
"""


def render(run: Run, *, samples: Mapping[str, Path] | None = None) -> str:
    """Write a run as one HTML file that needs no network.

    Everything that came from a model or a file name is escaped; a Content-Security-Policy allows
    no script but the page's own.

    Args:
        run: The run.
        samples: Sample name to image, for the pictures of the flipped samples.

    Returns:
        The page.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("sprat.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["size"] = _size
    environment.filters["commas"] = lambda n: f"{n:,}"
    environment.filters["signed"] = lambda v: f"{v:+.2f}"
    environment.filters["percent"] = lambda v: f"{v:.2%}"
    environment.filters["seconds"] = lambda s: f"{s:.2f} s" if s < 10 else f"{s:.0f} s"
    last = run.choice.test or run.choice.validation
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    return environment.get_template("report.html.j2").render(
        run=run,
        texts=TEXTS,
        last=last,
        found=run.choice.candidate != "original",
        before=run.model.wire,
        after=run.outputs[0].wire,
        networks=_networks(run),
        size_charts=themes(size_chart, run),
        bits_charts=themes(bits_chart, run),
        flips=_flips(last, samples or {}),
        more_flips=max(0, len(last.flips) - _SHOWN_FLIPS),
        layers=_layers(run),
        script=_SCRIPT,
        script_hash=digest,
    )


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def _networks(run: Run) -> list[dict[str, float]]:
    before, after = run.model.wire.brotli, run.outputs[0].wire.brotli
    longest = max(1e-9, download_seconds(before, min(NETWORKS_MBPS)))
    return [
        {
            "mbps": mbps,
            "raw": download_seconds(run.model.wire.raw, mbps),
            "before": download_seconds(before, mbps),
            "after": download_seconds(after, mbps),
            "before_runtime": download_seconds(before + RUNTIME_BROTLI_BYTES, mbps),
            "after_runtime": download_seconds(after + RUNTIME_BROTLI_BYTES, mbps),
            "bar": 100 * after / max(1, before),
            "share": 100 * download_seconds(before, mbps) / longest,
        }
        for mbps in NETWORKS_MBPS
    ]


def _flips(last: Evaluation, samples: Mapping[str, Path]) -> list[dict[str, Any]]:
    return [
        {
            "flip": flip,
            "picture": thumbnail(samples[flip.sample]) if flip.sample in samples else "",
        }
        for flip in last.flips[:_SHOWN_FLIPS]
    ]


def _layers(run: Run) -> list[dict[str, Any]]:
    bits = {b.name: b for b in run.layers}
    return [
        {"layer": layer, "bits": bits.get(layer.weight)}
        for layer in run.inspection.layers[:_SHOWN_LAYERS]
    ]
