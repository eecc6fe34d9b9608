"""What a bar of ``verify`` rests on: the interval of the figure, and how many samples it needs."""

from __future__ import annotations

import math

from sprat.browser.types import Proof
from sprat.evaluate.types import Evaluation, Interval, Speed

#: More samples than this are not asked for.
_MOST = 10_000_000
#: Digits that an estimate of samples has.
_DIGITS = 2


def doubt_of_drop(drop: float, interval: Interval, samples: int, bar: float) -> str:
    """Say that a drop is within its bar and its interval is not; empty where both or neither are.

    The half-width of an interval of a mean falls with the root of the number of samples:
    ``samples * (half-width / margin) ** 2`` samples of the same kind bring its end to the bar.

    Args:
        drop: In points.
        interval: Its 95 % interval.
        samples: What both rest on.
        bar: Points that are allowed.
    """
    if drop > bar or interval.high <= bar:
        return ""
    margin, half = bar - drop, interval.high - drop
    if margin * math.sqrt(_MOST / samples) < half:
        return f"held, not shown: the drop is too near the bar for {_MOST:,} samples to settle it"
    needed = samples * (half / margin) ** 2
    return f"held, not shown: about {_round(needed):,} samples would settle it"


def _round(needed: float) -> int:
    """Round up to two digits."""
    unit = 10 ** max(0, math.floor(math.log10(max(needed, 1.0))) + 1 - _DIGITS)
    return int(math.ceil(needed / unit) * unit)


def doubt_of_speed(speed: Speed, bar: float | None) -> str:
    """Say that the median of a time is within its bar and its slower rounds are not.

    Args:
        speed: With the first and ninth decile of the rounds.
        bar: The ratio that is allowed; None where none is set.
    """
    if bar is None or speed.ratio > bar or speed.interval.high <= bar:
        return ""
    return f"held, not shown: a tenth of the rounds take {speed.interval.high:.2f} or more"


def doubt_of_browser(native: Evaluation, proof: Proof, bar: float) -> str:
    """Say that a drop in the browser is within its bar and its interval is not, as for a drop.

    The interval has two parts, of native's samples and of those that the browser answers. The
    estimate is of the part that keeps it beyond the bar; of both where each alone does.

    Args:
        native: The model in native ONNX Runtime against the original, on all samples.
        proof: The model in the browser; against the original and against native.
        bar: Points that are allowed.
    """
    own = proof.against_native
    assert own is not None
    drop, interval = browser_drop(native, proof)
    if drop > bar or interval.high <= bar:
        return ""
    margin, half = bar - drop, interval.high - drop
    data = native.interval.high - native.drop
    web = math.sqrt(max(half**2 - data**2, 0.0))
    if margin > web:
        needed, where = native.samples * data**2 / (margin**2 - web**2), "samples"
    elif margin > data:
        needed, where = own.samples * web**2 / (margin**2 - data**2), "samples in the browser"
    else:
        times = (half / margin) ** 2 if margin else math.inf
        needed, where = max(native.samples, own.samples) * times, "samples, in the browser too,"
    if needed > _MOST:
        return f"held, not shown: the drop is too near the bar for {_MOST:,} samples to settle it"
    return f"held, not shown: about {_round(needed):,} {where} would settle it"


def browser_drop(native: Evaluation, proof: Proof) -> tuple[float, Interval]:
    """Return the drop in the browser: native's on all samples, and what the browser adds to it.

    A browser answers fewer samples than native does. On those, both are held against the original:
    the difference of their drops is the browser's own, and comes on top of native's drop on all
    samples. The intervals of both parts are joined as those of independent estimates (the MOVER of
    Zou and Donner 2008, "Construction of confidence limits about effect measures", Stat. Med. 27).
    Where all answers are native's, the browser shows no model of its own: the interval is native's.

    Args:
        native: The model in native ONNX Runtime against the original, on all samples.
        proof: The model in the browser; against the original and against native.

    Returns:
        Points, and their 95 % interval.
    """
    web, own = proof.against_original, proof.against_native
    assert web is not None
    assert own is not None
    assert proof.native_drop is not None
    drop = native.drop + web.drop - proof.native_drop
    if own.agreement == 1.0:
        return drop, native.interval
    low = math.hypot(native.drop - native.interval.low, own.drop - own.interval.low)
    high = math.hypot(native.interval.high - native.drop, own.interval.high - own.drop)
    return drop, Interval(drop - low, drop + high)
