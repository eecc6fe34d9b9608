"""Dead twins: no measure may take a model that lost what the original does for a good one."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from fuzz.twins import KINDS, Case, case, dead_twins, honest
from onnx import numpy_helper

from sprat.errors import DataError
from sprat.model.load import save
from sprat.model.session import open_session, run
from sprat.workflow.compare import compare
from sprat.workflow.optimize import optimize
from sprat.workflow.setting import open_setting
from sprat.workflow.verify import verify

BUDGET = 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_dead_twins_are_told_from_honest_ones(tmp_path: Path, kind: str) -> None:
    """Constant answers, mixed-up classes and channels, shrunken scores, shifted boxes."""
    found = case(kind, 0)
    reference = open_setting(*found.write(tmp_path)).reference
    drops = {name: reference.evaluate(twin).drop for name, twin in dead_twins(found, 0)}
    assert len(drops) >= 3
    assert {name for name, drop in drops.items() if drop <= BUDGET} == set()
    assert reference.evaluate(honest(found, 0)).drop <= BUDGET


@pytest.mark.parametrize("kind", KINDS)
def test_compare_and_verify_say_no_to_a_dead_twin(tmp_path: Path, kind: str) -> None:
    found = case(kind, 1)
    model, data = found.write(tmp_path)
    *_, (_, last) = dead_twins(found, 1)
    twin, good = save(last, tmp_path / "twin.onnx"), save(honest(found, 1), tmp_path / "good.onnx")
    assert compare(model, twin, data).evaluation.drop > BUDGET
    checks = {check.name: check for check in verify(twin, model, data).checks}
    assert not checks["accuracy"].holds
    checks = {check.name: check for check in verify(good, model, data).checks}
    assert checks["accuracy"].holds
    assert "measure" not in checks


def all_alike(kind: str) -> Case:
    """Samples on which the original always gives the same answer."""
    found = case(kind, 2)
    values = run(open_session(found.model), {"x": found.data["x"]})["y"].astype(np.float64)
    columns = values.reshape(len(values), -1)
    answer = columns.argmax(axis=1) if columns.shape[1] > 1 else np.sign(columns[:, 0] - 1e-9)
    x = np.repeat(found.data["x"][answer == answer[0]][:8], 10, axis=0)
    x *= 1 + 1e-4 * np.random.default_rng(0).standard_normal(x.shape).astype(np.float32)
    return Case(kind, found.model, {"x": x})


@pytest.mark.parametrize("kind", ["logit", "classes", "integers"])
def test_a_measure_that_a_constant_answer_passes_is_not_offered(tmp_path: Path, kind: str) -> None:
    found = all_alike(kind)
    model, data = found.write(tmp_path)
    verdict = verify(model, model, data)
    assert not verdict.holds
    check = next(c for c in verdict.checks if c.name == "measure")
    assert "always answers" in check.figure
    assert any("agreement with it says nothing" in note for note in verdict.comparison.notes)
    with pytest.raises(DataError, match="could tell a good model from a dead one"):
        optimize(model, data, tmp_path / "out")


def test_a_detector_without_scores_is_told(tmp_path: Path) -> None:
    """Boxes in pixels and scores of 0 to 1 in one output: the pixels would hide the scores."""
    found = case("detector", 3)
    model, data = found.write(tmp_path)
    dead = onnx.ModelProto()
    dead.CopyFrom(found.model)
    for tensor in dead.graph.initializer:
        if tensor.name == "y.scores.c.b":
            tensor.CopyFrom(
                numpy_helper.from_array(np.full(tensor.dims, -40, np.float32), tensor.name)
            )
    e = compare(model, save(dead, tmp_path / "dead.onnx"), data).evaluation
    assert e.metric == "concordance"
    assert e.drop > 50
    assert e.worst.startswith("channels 4 to ")


@pytest.mark.parametrize("kind", ["vector", "detector"])
def test_no_flips_are_counted_where_answers_agree_by_degrees(tmp_path: Path, kind: str) -> None:
    """A dead twin of a detector has "0 samples flipped" only because none can be counted."""
    found = case(kind, 5)
    model, data = found.write(tmp_path)
    *_, (_, last) = dead_twins(found, 5)
    twin = save(last, tmp_path / "twin.onnx")

    def said(other: Path) -> str:
        command = [sys.executable, "-m", "sprat", "compare", str(model), str(other)]
        done = subprocess.run(
            [*command, "--data", str(data)], capture_output=True, text=True, check=True
        )
        return done.stdout

    assert "concordance" in said(twin)
    assert "flipped" not in said(twin)
    assert "0 samples flipped" in said(model)


def test_the_output_that_suffers_most_decides(tmp_path: Path) -> None:
    found = case("several", 4)
    reference = open_setting(*found.write(tmp_path)).reference
    assert [r.output for r in reference.reading.deciding] == ["boxes", "scores"]
    twins = dict(dead_twins(found, 4))
    e = reference.evaluate(twins["the mean in scores"])
    assert e.worst == "output 'scores'"
    assert e.error.divergence > 0.5
