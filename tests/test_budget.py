"""The budget and the choice."""

from pathlib import Path

import pytest

from sprat.evaluate.types import Evaluation, Interval, OutputDistance, Speed
from sprat.model.wire import WireBytes
from sprat.record.schema import CandidateRecord, Outcome
from sprat.search.budget import Goal, choose, holds
from sprat.workflow.budget import Budget
from sprat.workflow.optimize import optimize

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "doodles"


def evaluation(drop: float, half: float = 0.5, agreement: float = 0.99) -> Evaluation:
    return Evaluation(
        split="val",
        samples=800,
        metric="accuracy",
        reference=0.95,
        model=0.95 - drop / 100,
        drop=drop,
        interval=Interval(drop - half, drop + half),
        agreement=agreement,
        error=OutputDistance(0.1, 0.01, 30.0, 0.001),
    )


def candidate(
    name: str, size: int, ratio: float = 1.0, outcome: Outcome = "within budget"
) -> CandidateRecord:
    return CandidateRecord(
        name=name,
        method="weights",
        outcome=outcome,
        wire=WireBytes(size * 2, size, size),
        evaluation=evaluation(0.1),
        speed=Speed(ratio, Interval(ratio, ratio), 1.0, ratio, 5, 1),
    )


def test_a_wide_interval_needs_a_smaller_drop() -> None:
    assert holds(evaluation(0.9, half=0.1), 1.0)
    assert not holds(evaluation(0.9, half=1.0), 1.0)
    assert not holds(evaluation(1.1, half=0.1), 1.0)


def test_the_same_answers_always_hold() -> None:
    assert holds(evaluation(0.0, half=3.0, agreement=1.0), 0.0)


def test_small_takes_the_fewest_bytes_within_the_budget() -> None:
    rows = [
        candidate("big", 900),
        candidate("small", 300),
        candidate("over", 100, outcome="over budget"),
    ]
    found, reason = choose(rows, "small", 1000)
    assert found is not None
    assert found.name == "small"
    assert "2 candidates" in reason


@pytest.mark.parametrize("goal", ["small", "fast"])
def test_nothing_smaller_is_said(goal: Goal) -> None:
    found, reason = choose([candidate("same", 1000)], goal, 1000)
    assert found is None
    assert "Nothing smaller" in reason


def test_fast_takes_the_fastest_within_1_7_times_the_bytes() -> None:
    rows = [
        candidate("small", 300, 1.4),
        candidate("fast", 500, 0.45),
        candidate("same-speed", 480, 0.5),
        candidate("too-big", 520, 0.1),
    ]
    found, _ = choose(rows, "fast", 1000)
    assert found is not None
    assert found.name == "same-speed"


def test_what_is_sure_is_measured_though_time_is_up(tmp_path: Path) -> None:
    budget = Budget(max_drop=0.0001, minutes=0.001)
    run = optimize(EXAMPLE / "doodles.onnx", EXAMPLE / "data", tmp_path / "small", budget=budget)
    found = {c.name: c.outcome for c in run.candidates}
    assert next(iter(found.values())) == "over budget"  # the one point of the curve
    rest = set(found.values()) - {"over budget", "chosen"}
    assert (found["weights-int8"], rest) == ("chosen", {"not tried"})  # float16 has no time
    assert run.choice.candidate == "weights-int8"
