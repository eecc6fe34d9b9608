"""Figures as people read them, and the rows of the report's tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sprat.browser.types import Frame, Proof
from sprat.evaluate.types import Evaluation, Flip
from sprat.model.inspect import LayerInfo
from sprat.model.wire import NETWORKS_MBPS, RUNTIME_BROTLI_BYTES, download_seconds
from sprat.record.schema import (
    CandidateRecord,
    DistillationRecord,
    EpochRecord,
    LayerRecord,
    Run,
    TrialRecord,
)
from sprat.report.pictures import thumbnail

#: Between a figure and its unit, so that no line breaks there.
_SPACE = "\N{NO-BREAK SPACE}"
_SHOWN_FLIPS = 24
_SHOWN_LAYERS = 30
_SHOWN_EPOCHS = 10
_NAME_LENGTH = 120


def size(count: float) -> str:
    """Return bytes as people say them, in powers of ten: ``812 B``, ``331 kB``, ``41.0 MB``."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= 0.9995 * factor:
            return f"{_three_digits(count / factor)}{_SPACE}{unit}"
    return f"{count:.0f}{_SPACE}B"


def seconds(value: float) -> str:
    """Return a time: ``0.26 s``, ``32.8 s``, ``328 s``; never a bare zero."""
    text = _three_digits(value) if value >= 0.995 else f"{max(value, 0.01):.2f}"
    return f"{text}{_SPACE}s"


def signed(value: float) -> str:
    """Return points with a sign, by U+2212: ``+0.47``, ``-0.12``, ``0.00``."""
    text = f"{value:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text.replace("-", "\N{MINUS SIGN}")


def points(value: float) -> str:
    """Return a budget in points: ``1.0``, ``0.25``."""
    return f"{value:.1f}" if round(value, 1) == value else f"{value:g}"


def milliseconds(value: float) -> str:
    """Return a time of one run: ``0.41``, ``14.7``."""
    return _three_digits(value)


def percent(value: float, digits: int = 2) -> str:
    """Return a share of 0 to 1 in per cent, as both languages write it."""
    return f"{100 * value:.{digits}f}{_SPACE}%"


def times(before: float, after: float) -> str:
    """Return how many times smaller ``after`` is: ``124``, ``4.7``."""
    factor = before / max(1, after)
    return f"{factor:,.0f}" if factor >= 9.95 else f"{factor:.1f}"


def short(name: str, length: int = _NAME_LENGTH) -> str:
    """Cut a long name in its middle; both ends tell more than the beginning alone."""
    if len(name) <= length:
        return name
    half = (length - 1) // 2
    return f"{name[: length - 1 - half]}…{name[-half:]}"


def _three_digits(value: float) -> str:
    digits = max(0, 2 - math.floor(math.log10(max(value, 1e-9)) + 1e-9))
    return f"{value:,.{min(digits, 2)}f}"


@dataclass(frozen=True)
class NetworkRow:
    """Seconds over one network, and the widths of its bars in per cent of the longest."""

    mbps: float
    before: float
    after: float
    runtime: float
    before_width: float
    after_width: float
    runtime_width: float


def network_rows(run: Run) -> list[NetworkRow]:
    """Return the download times of the original and of the choice, with the runtime's own."""
    sizes = (run.model.wire.brotli, run.outputs[0].wire.brotli, RUNTIME_BROTLI_BYTES)
    widest = max(sizes[0], sizes[1]) + sizes[2]
    widths = [100 * part / widest for part in sizes]
    return [
        NetworkRow(mbps, *(download_seconds(part, mbps) for part in sizes), *widths)
        for mbps in NETWORKS_MBPS
    ]


def candidate_rows(run: Run) -> list[CandidateRecord]:
    """Return the candidates, smallest first; those without a file stand last."""
    return sorted(run.candidates, key=lambda c: (c.wire is None, c.wire.brotli if c.wire else 0))


def epoch_rows(taught: DistillationRecord) -> list[EpochRecord]:
    """Return some epochs, evenly spread, with the first, the best and the last."""
    count = len(taught.curve)
    kept = {round(i * (count - 1) / (_SHOWN_EPOCHS - 1)) for i in range(_SHOWN_EPOCHS)}
    return [row for i, row in enumerate(taught.curve) if i in kept or row.epoch == taught.best]


@dataclass(frozen=True)
class TrialRow:
    """A trial, what it gave, and whether nothing beats it in both bytes and score."""

    trial: TrialRecord
    candidate: CandidateRecord | None
    is_on_front: bool
    is_best: bool

    @property
    def drawn(self) -> str:
        """Its configuration in words."""
        return ", ".join(f"{k} {v}" for k, v in self.trial.drawn.items() if v is not None)


def trial_rows(run: Run) -> list[TrialRow]:
    """Return the trials of a search: the front by size, then the others by number."""
    tuned = run.tuning
    if tuned is None:
        return []
    tried = {c.name: c for c in run.candidates}
    place = {number: i for i, number in enumerate(tuned.front)}
    rows = [
        TrialRow(t, tried.get(f"trial-{t.number}"), t.number in place, t.number == tuned.best)
        for t in tuned.trials
    ]
    return sorted(rows, key=lambda r: (place.get(r.trial.number, len(place)), r.trial.number))


@dataclass(frozen=True)
class FlipRow:
    """A sample with two answers. ``picture`` is empty where it is none, None where unreadable."""

    flip: Flip
    picture: str | None
    verdict: str


def flip_rows(last: Evaluation, samples: Mapping[str, Path | bytes]) -> list[FlipRow]:
    """Return the first samples that changed their answer, with their pictures."""
    return [
        FlipRow(
            flip, thumbnail(samples[flip.sample]) if flip.sample in samples else "", verdict(flip)
        )
        for flip in last.flips[:_SHOWN_FLIPS]
    ]


def verdict(flip: Flip) -> str:
    """Say whether a flip made the answer ``better``, ``worse``, or neither: an empty string."""
    if flip.label == flip.model:
        return "better"
    return "worse" if flip.label == flip.reference else ""


@dataclass(frozen=True)
class LayerRow:
    """A layer of the original with what the method did to its weight, where either is known."""

    name: str
    operator: str
    layer: LayerInfo | None
    bits: LayerRecord | None


def layer_rows(run: Run) -> list[LayerRow]:
    """Return the largest layers, joined by weight, then weights that only cleaning made."""
    bits = {record.name: record for record in run.layers}
    rows = [
        LayerRow(
            layer.name,
            f"{layer.operator} {'×'.join(map(str, layer.shape))}",
            layer,
            bits.pop(layer.weight, None),
        )
        for layer in run.inspection.layers
    ]
    made = [LayerRow(record.name, "", None, record) for record in bits.values()]
    return rows[:_SHOWN_LAYERS] + made[:_SHOWN_LAYERS]


def hidden_layers(run: Run) -> int:
    """Return how many layers of the original :func:`layer_rows` leaves out."""
    return max(0, len(run.inspection.layers) - _SHOWN_LAYERS)


@dataclass(frozen=True)
class Film:
    """Pictures of one load, in their order."""

    subject: str
    frames: tuple[Frame, ...]


def films(proof: Proof) -> list[Film]:
    """Return the pictures of the loads, the original's first."""
    found = [
        Film(subject, tuple(f for f in proof.frames if f.subject == subject))
        for subject in ("original", "model")
    ]
    return [film for film in found if film.frames]
