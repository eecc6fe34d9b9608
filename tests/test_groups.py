"""Channels of a vector output that have a scale in common."""

import numpy as np
import pytest
from numpy.typing import NDArray

from sprat.evaluate.groups import concordance, find_groups

Floats = NDArray[np.float64]
SAMPLES = 60


def landmarks(points: int = 12) -> Floats:
    """``[60, 15, points]``: 14 channels in pixels and one raw logit."""
    random = np.random.default_rng(0)
    pixels = 320 + 60 * random.standard_normal((SAMPLES, 14, points))
    return np.concatenate([pixels, random.standard_normal((SAMPLES, 1, points)) - 2], axis=1)


def detections(points: int) -> Floats:
    """``[60, 6, points]``: boxes in pixels and two scores of 0 to 1."""
    random = np.random.default_rng(1)
    pixels = 320 + 60 * random.standard_normal((SAMPLES, 4, points))
    return np.concatenate([pixels, random.uniform(0, 1, (SAMPLES, 2, points))], axis=1)


def least(reference: Floats, model: Floats) -> float:
    """The concordance of the group that agrees least."""
    return float(concordance(reference, model, find_groups(reference)).mean(axis=0).min())


@pytest.mark.parametrize("spread", [1.0, 0.05])
def test_a_dead_logit_among_many_pixels_is_seen(spread: float) -> None:
    values = landmarks()
    values[:, 14:] *= spread
    dead = values.copy()
    dead[:, 14:] = 0
    assert least(values, dead) < 0.5
    assert least(values, values + 1e-3 * np.abs(values[:, 14:]).max()) > 0.99


def test_a_channel_that_hardly_varies_stays_with_the_rest() -> None:
    """Relative to its own size, or to its family: nothing is lost with it."""
    values = landmarks()
    values[:, 14:] = 5 + 0.01 * values[:, 14:]
    assert len(find_groups(values).groups) == 1
    values[:, 14:] = 1e-3 * (values[:, 14:] - 5)
    assert len(find_groups(values).groups) == 1


@pytest.mark.parametrize("beyond", [1.0000001, 1.0009765625])
def test_a_score_that_is_rounded_beyond_1_is_a_score(beyond: float) -> None:
    values = detections(12)
    values[0, 4, 0] = beyond
    values[0, 5, 0] = 1 - beyond
    found = [group.channels for group in find_groups(values).groups]
    assert found == [(4, 5), (0, 1, 2, 3)]


def test_dead_scores_in_a_long_row_are_seen() -> None:
    """A detector's output may be one row of many thousands of values."""
    values = detections(1200)
    dead = values.copy()
    dead[:, 4:] = 0
    flat, lost = values.reshape(SAMPLES, -1), dead.reshape(SAMPLES, -1)
    assert flat.shape[1] == 7200
    assert least(flat, lost) < 0.5
    assert least(flat[:, None], lost[:, None]) < 0.5
    assert least(flat, flat + 1e-3) > 0.99
