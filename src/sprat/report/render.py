"""``report.html``: one self-contained file that a person shows to a team."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from sprat.model.wire import RUNTIME_BROTLI_BYTES
from sprat.record.schema import Run
from sprat.report import figures
from sprat.report.texts import TEXTS, Text, both, named, printable, word

if TYPE_CHECKING:
    from jinja2 import Environment

#: A native time ratio up to here counts as "not slower": below it, timings are noise.
_SAME_SPEED = 1.2
#: The line whose download time is in the verdict.
_VERDICT_MBPS = 10.0


def render(run: Run, *, samples: Mapping[str, Path | bytes] | None = None) -> str:
    """Write a run as one HTML file that needs no network.

    Everything that came from a model, a file name or a record is escaped, and a
    Content-Security-Policy lets nothing run but the page's own script, by its hash. The page is
    in English and Chinese; without JavaScript it is in English.

    Args:
        run: The run.
        samples: Name of a sample to its image, a file or bytes, for the pictures of the samples
            that changed their answer. Samples that are no images are left out here and shown by
            name; an image that cannot be read becomes a placeholder.

    Returns:
        The page; the same for the same run and images.
    """
    environment = _environment()
    script = _source(environment, "script.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return environment.get_template("report.html.j2").render(
        run=run,
        script=Markup(script),
        script_hash=digest,
        **_verdict(run),
        **_evidence(run, samples or {}),
    )


def _verdict(run: Run) -> dict[str, Any]:
    last = run.choice.test or run.choice.validation
    before, after = run.model.wire, run.outputs[0].wire
    networks = figures.network_rows(run)
    return {
        "last": last,
        "metric": word(last.metric),
        "found": run.choice.candidate != "original",
        "holds": last.drop <= run.choice.max_drop,
        "before": before,
        "after": after,
        "times": figures.times(before.brotli, after.brotli),
        "speed": run.choice.speed,
        "same_speed": _SAME_SPEED,
        "reason": _reason(run),
        "networks": networks,
        "at_10": next(n for n in networks if n.mbps == _VERDICT_MBPS),
        "runtime_bytes": RUNTIME_BROTLI_BYTES,
    }


def _evidence(run: Run, samples: Mapping[str, Path | bytes]) -> dict[str, Any]:
    from sprat.report.charts import bits_chart, drawn, size_chart
    from sprat.report.training import training_chart

    last = run.choice.test or run.choice.validation
    flips = figures.flip_rows(last, samples)
    verdicts = [figures.verdict(flip) for flip in last.flips]
    return {
        "size_charts": drawn(size_chart, run),
        "bits_charts": drawn(bits_chart, run),
        "training_charts": drawn(training_chart, run),
        "candidates": figures.candidate_rows(run),
        "flips": flips,
        "more_flips": len(last.flips) - len(flips),
        "better": verdicts.count("better"),
        "worse": verdicts.count("worse"),
        "layers": figures.layer_rows(run),
        "student_chosen": any(
            c.source == "student" and c.outcome == "chosen" for c in run.candidates
        ),
        "more_layers": figures.hidden_layers(run),
        **_browser(run, samples),
        **_training(run),
        "trials": figures.trial_rows(run),
    }


def _training(run: Run) -> dict[str, Any]:
    taught = run.distillation
    if taught is None:
        return {}
    return {
        "epochs": figures.epoch_rows(taught),
        "metric_on_val": named(run.choice.validation.metric),
        "ended": word(taught.ended),
    }


def _browser(run: Run, samples: Mapping[str, Path | bytes]) -> dict[str, Any]:
    proof = run.proof
    if proof is None:
        return {"missing_operators": (), "web_flips": (), "films": (), "first_visits": ()}
    native = proof.against_native
    return {
        "missing_operators": [o for o in proof.operators if o.error],
        "web_flips": figures.flip_rows(native, samples) if native is not None else (),
        "films": figures.films(proof),
        "first_visits": [v for v in proof.visits if v.subject == "model"],
    }


def _reason(run: Run) -> Text:
    """Return the record's reason in English, and what it means in Chinese."""
    key: str = run.choice.goal
    if run.distillation is not None and run.student is None:  # a run of distill
        key = "distill"
    elif run.tuning is not None:
        key = "tune" if run.choice.validation.drop <= run.choice.max_drop else "tune_missed"
    return Text(printable(run.choice.reason), TEXTS[f"reason_{key}"].zh)


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("sprat.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.globals |= {"t": both, "named": named, "word": word}
    environment.filters |= {
        "size": figures.size,
        "seconds": figures.seconds,
        "signed": figures.signed,
        "percent": figures.percent,
        "points": figures.points,
        "milliseconds": figures.milliseconds,
        "short": figures.short,
        "commas": lambda number: f"{number:,}",
        "json_text": lambda value: json.dumps(value, ensure_ascii=False),
    }
    return environment


def _shown(value: object) -> object:
    """Clean each text on its way into the page; autoescaping follows."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return printable(value)


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    source, _, _ = environment.loader.get_source(environment, name)
    return source
