"""Native speed as a ratio, measured alternately in one process."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from sprat.evaluate.types import Interval, Speed
from sprat.model.session import Feeds, open_session
from sprat.progress import Progress, silent

_ROUNDS = 15
_BLOCK_SECONDS = 0.03


def measure_speed(
    reference: onnx.ModelProto | Path,
    model: onnx.ModelProto | Path,
    feeds: Feeds,
    *,
    rounds: int = _ROUNDS,
    progress: Progress = silent,
) -> Speed:
    """Time two models alternately on the same input, one thread each.

    Other load on the machine then slows both alike; only the ratio is meant to be used.

    Args:
        reference: The original.
        model: The model.
        feeds: One input (a batch of one).
        rounds: How many alternations.
        progress: Told how many rounds are done.

    Returns:
        The ratio with its first and ninth decile.
    """
    first, second = open_session(reference), open_session(model)
    repeats = [max(1, round(_BLOCK_SECONDS / _warm(s, feeds))) for s in (first, second)]
    times = np.zeros((rounds, 2))
    for i in range(rounds):
        order = (0, 1) if i % 2 == 0 else (1, 0)
        for j in order:
            times[i, j] = _block((first, second)[j], feeds, repeats[j])
        progress("timing", i + 1, rounds)
    ratios = times[:, 1] / times[:, 0]
    low, middle, high = (float(q) for q in np.quantile(ratios, (0.1, 0.5, 0.9)))
    base, ours = (float(v) * 1e3 for v in np.median(times, axis=0))
    return Speed(middle, Interval(low, high), base, ours, rounds, 1)


def _warm(session: ort.InferenceSession, feeds: Feeds) -> float:
    """Run three times and return the seconds of the last one."""
    session.run(None, feeds)
    session.run(None, feeds)
    return max(_block(session, feeds, 1), 1e-6)


def _block(session: ort.InferenceSession, feeds: Feeds, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        session.run(None, feeds)
    return (time.perf_counter() - start) / repeats
