"""NaN is told and agrees with nothing; two identical models show no difference at all."""

from pathlib import Path

import numpy as np
import pytest
from fuzz.twins import case
from onnx import helper, numpy_helper

from sprat.data.noise import Noise
from sprat.data.options import DataOptions
from sprat.errors import DataError, UnsupportedModelError
from sprat.evaluate.constant import constant_answer
from sprat.evaluate.evaluate import reference_on
from sprat.evaluate.reading import guess_reading
from sprat.model.inspect import tensor_infos
from sprat.model.load import save
from sprat.workflow.compare import compare
from sprat.workflow.setting import open_setting
from sprat.workflow.step import quantize_file
from sprat.workflow.verify import verify
from tests.networks import build

VECTOR = DataOptions(kind="vector")


def rooted(tmp_path: Path, name: str, at: float) -> Path:
    """A model that gives NaN where the first value of a sample is below ``at``."""
    nodes = [
        helper.make_node("Sub", ["x", "at"], ["moved"]),
        helper.make_node("Sqrt", ["moved"], ["root"]),
        helper.make_node("Gemm", ["root", "w"], ["y"]),
    ]
    weights = {
        "at": np.array([at, -9, -9, -9], np.float32),
        "w": np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32),
    }
    return save(build(nodes, weights, {"x": ["n", 4]}, {"y": ["n", 5]}), tmp_path / name)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Of 40 samples 4 have a first value below 0."""
    x = np.abs(np.random.default_rng(1).standard_normal((40, 4))).astype(np.float32)
    x[:4, 0] *= -1
    np.savez(tmp_path / "data.npz", x=x, split=np.repeat("val", 40))
    return tmp_path / "data.npz"


@pytest.mark.parametrize("kind", ["classes", "vector"])
def test_nan_of_a_candidate_is_told_and_agrees_with_nothing(
    tmp_path: Path, data: Path, kind: str
) -> None:
    options = DataOptions(kind=kind)  # type: ignore[arg-type]
    good, bad = rooted(tmp_path, "good.onnx", -9), rooted(tmp_path, "bad.onnx", 0)
    verdict = verify(bad, good, data, options=options, max_drop=40)
    e = verdict.comparison.evaluation
    assert e.invalid > 0
    assert e.lost == e.invalid
    assert e.agreement <= 1 - e.invalid / e.samples
    assert e.drop >= 100 * e.invalid / e.samples
    figure = next(c.figure for c in verdict.checks if c.name == "accuracy")
    assert f"NaN on {e.invalid} samples, the first '{e.first_invalid}'" in figure
    assert np.isfinite([e.drop, e.model, e.error.snr_db, e.error.divergence]).all()


def test_nan_of_the_original_is_told_and_agrees_with_nothing(tmp_path: Path, data: Path) -> None:
    path = rooted(tmp_path, "model.onnx", 0)
    found = compare(path, path, data, options=VECTOR)
    e = found.evaluation
    assert any(f"is NaN on {e.invalid} of {e.samples} samples" in note for note in found.notes)
    assert 0 < e.invalid < e.samples
    assert np.isclose(e.agreement, 1 - e.invalid / e.samples)
    assert (e.drop, e.lost) == (0, 0)


def test_an_original_of_nan_alone_is_refused(tmp_path: Path, data: Path) -> None:
    with pytest.raises(DataError, match="of the original is NaN on all"):
        open_setting(rooted(tmp_path, "model.onnx", 99), data, VECTOR)


@pytest.mark.parametrize("given", [True, False])
def test_float16_beyond_its_range_is_refused(tmp_path: Path, data: Path, given: bool) -> None:
    """Values of 100,000 become infinite in float16, and infinity times 0 is NaN."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Mul", ["h", "large"], ["far"]),
        # Native computes in float32 what has no kernel for float16; moving values has one.
        helper.make_node("Gather", ["far", "order"], ["turned"], axis=1),
        helper.make_node("Concat", ["turned", "x"], ["joined"], axis=1),
        helper.make_node("Gather", ["joined", "order"], ["back"], axis=1),
        helper.make_node("MatMul", ["back", "head"], ["z"]),
        helper.make_node("MatMul", ["z", "more"], ["out"]),
    ]
    random = np.random.default_rng(0)
    weights = {
        "w": random.standard_normal((4, 4)).astype(np.float32),
        "large": np.full(4, 6e4, np.float32),
        "order": np.array([3, 2, 1, 0]),
        "head": np.eye(4, 64, dtype=np.float32),
        "more": random.standard_normal((64, 64)).astype(np.float32),
    }
    model = save(build(nodes, weights, {"x": ["n", 4]}, {"out": ["n", 64]}), tmp_path / "m.onnx")
    out = tmp_path / "small.onnx"
    source = data if given else None
    with pytest.raises(UnsupportedModelError, match=r"\d+ of \d+ values .* are no numbers"):
        quantize_file(model, out, "float16", data=source, options=VECTOR)
    assert not out.exists()


def test_identical_models_show_no_difference_by_a_continuous_measure(tmp_path: Path) -> None:
    model, data = case("vector", 0).write(tmp_path)
    e = compare(model, model, data).evaluation
    assert (e.drop, e.interval.low, e.interval.high, e.model) == (0, 0, 0, 1)


def test_infinite_scores_are_answers(tmp_path: Path) -> None:
    """A mask of minus infinity leaves classes; their divergence is a number."""
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"]),
        helper.make_node("Add", ["h", "mask"], ["y"]),
    ]
    weights = {
        "w": np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32),
        "mask": np.array([0, 0, -np.inf], np.float32),
    }
    model = build(nodes, weights, {"x": ["n", 4]}, {"y": ["n", 3]})
    assert numpy_helper.to_array(model.graph.initializer[1])[2] == -np.inf
    np.savez(
        tmp_path / "data.npz", x=np.random.default_rng(0).standard_normal((30, 4), dtype=np.float32)
    )
    path = save(model, tmp_path / "model.onnx")
    e = compare(path, path, tmp_path / "data.npz").evaluation
    assert (e.invalid, e.agreement, e.error.divergence) == (0, 1, 0)


def test_a_sample_without_a_number_does_not_hide_that_a_constant_would_pass() -> None:
    """A mean with NaN in it agrees with nothing, and so seemed to lose all."""
    model = build(
        [helper.make_node("Gemm", ["x", "w"], ["y"])],
        {"w": np.ones((4, 6), np.float32)},
        {"x": ["n", 4]},
        {"y": ["n", 6]},
    )
    values = np.tile(np.arange(6, dtype=np.float32), (20, 1))
    values[3] = np.nan
    samples = Noise(tensor_infos(model), tuple(range(20)), 0)
    reading, _ = guess_reading(model, {"y": values}, kind="vector")
    reference = reference_on(model, samples, "noise", reading, outputs={"y": values}, size=1)
    constant = constant_answer(reference)
    assert constant is not None
    assert constant.hides_in(1.0)
