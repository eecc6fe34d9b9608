"""The paired interval: where a law exists, it is checked."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sprat.evaluate.interval import paired_interval

_SCORES = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=200)


@given(_SCORES)
def test_lies_around_the_difference_and_turns_with_it(pairs: list[tuple[bool, bool]]) -> None:
    reference = np.array([a for a, _ in pairs], dtype=np.float64)
    model = np.array([b for _, b in pairs], dtype=np.float64)
    drop = 100 * float((reference - model).mean())
    found = paired_interval(reference, model)
    turned = paired_interval(model, reference)
    assert -100 <= found.low <= found.high <= 100
    assert found.low <= drop + 1e-9 or drop == -100
    assert found.high >= drop - 1e-9 or drop == 100
    assert np.isclose(found.low, -turned.high)
    assert np.isclose(found.high, -turned.low)


def test_covers_the_true_difference() -> None:
    random = np.random.default_rng(7)
    truth, hits, rounds = 0.02, 0, 2000
    for _ in range(rounds):
        draw = random.random(400)
        reference = np.ones(400)
        reference[draw < 0.01] = 0.0
        model = np.ones(400)
        model[(draw >= 0.01) & (draw < 0.04)] = 0.0
        found = paired_interval(reference, model)
        hits += found.low <= 100 * truth <= found.high
    assert hits / rounds > 0.94


def test_no_flip_still_has_width() -> None:
    found = paired_interval(np.ones(100), np.ones(100))
    assert found.low < 0 < found.high


def test_other_scores_use_student() -> None:
    random = np.random.default_rng(1)
    reference = np.ones(50)
    model = reference - random.random(50) * 0.1
    found = paired_interval(reference, model)
    assert found.low < 100 * float((reference - model).mean()) < found.high


def test_one_sample_says_nothing() -> None:
    found = paired_interval(np.ones(1), np.zeros(1))
    assert (found.low, found.high) == (-100, 100)
