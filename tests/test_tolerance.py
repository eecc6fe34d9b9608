"""A figure that does not come out again is named."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks.tolerance import moved

RESULTS = Path(__file__).parents[1] / "benchmarks/results"


@pytest.fixture(params=["fish", "browser", "student"])
def results(request: pytest.FixtureRequest) -> Any:
    return json.loads((RESULTS / f"{request.param}.json").read_text())


def test_the_same_figures_are_the_same(results: Any) -> None:
    assert list(moved(results, copy.deepcopy(results))) == []


def test_missing_figures_are_named(results: Any) -> None:
    assert all(line.endswith("is missing") for line in moved(results, {}))
    assert list(moved(results, {}))


@pytest.mark.parametrize(
    ("key", "factor", "told"), [("brotli", 1.04, 0), ("brotli", 1.06, 1), ("ratio", 0.7, 1)]
)
def test_a_figure_may_move_within_its_tolerance(key: str, factor: float, told: int) -> None:
    before = json.loads((RESULTS / "fish.json").read_text())
    now = copy.deepcopy(before)
    row = now["rows"][0]
    row[key] *= factor
    lines = list(moved(before, now))
    assert len(lines) == told
    assert all(line.startswith(f"rows[{row['name']}].{key} was ") for line in lines)


def test_points_and_answers_move_by_amounts() -> None:
    before = {"drop": 0.01, "flips": 0, "sha256": "a", "agreement": 0.98}
    assert list(moved(before, before | {"drop": 0.5, "sha256": "b", "agreement": 0.985})) == []
    now = before | {"drop": -0.6, "flips": 1}
    assert list(moved(before, now)) == [
        "drop was 0.01 and is -0.6 (tolerance 0.5)",
        "flips was 0 and is 1 (tolerance 0)",
    ]
