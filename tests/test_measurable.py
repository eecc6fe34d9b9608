"""Which outputs can be measured, and what is said of those that cannot."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from sprat.data.options import DataOptions
from sprat.errors import DataError, OptionError
from sprat.model.load import save
from sprat.workflow.compare import compare
from sprat.workflow.setting import open_setting
from tests.networks import mlp


@pytest.fixture
def data(tmp_path: Path) -> Path:
    x = np.random.default_rng(0).standard_normal((40, 32)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, split=np.repeat("val", 40))
    return tmp_path / "data.npz"


def test_an_output_that_the_candidate_lacks_is_named(tmp_path: Path, data: Path) -> None:
    """Also where the candidate's other outputs can be measured."""
    other = mlp()
    other.graph.output[0].name = other.graph.node[-1].output[0] = "logits"
    paths = save(mlp(), tmp_path / "model.onnx"), save(other, tmp_path / "other.onnx")
    with pytest.raises(DataError, match="output 'y' of the original has no counterpart"):
        compare(*paths, data, options=DataOptions(kind="classes"))


@pytest.mark.parametrize("wanted", [("y", "copy"), ("copy",)])
def test_a_wanted_output_may_be_the_same_as_another(
    tmp_path: Path, data: Path, wanted: tuple[str, ...]
) -> None:
    model = mlp()
    model.graph.node.append(helper.make_node("Identity", ["y"], ["copy"], name="copy"))
    model.graph.output.append(model.graph.output[0])
    model.graph.output[-1].name = "copy"
    path = save(model, tmp_path / "model.onnx")
    reference = open_setting(path, data, DataOptions(kind="classes", name=wanted)).reference
    assert tuple(reference.outputs) == wanted
    usual = open_setting(path, data, DataOptions(kind="classes")).reference
    assert tuple(usual.outputs) == ("y",)


def test_a_wanted_constant_is_refused(tmp_path: Path, data: Path) -> None:
    model = mlp()
    copied = helper.make_node("Identity", [model.graph.initializer[0].name], ["same"], name="same")
    model.graph.node.append(copied)
    model.graph.output.append(helper.make_tensor_value_info("same", 1, None))
    path = save(model, tmp_path / "model.onnx")
    with pytest.raises(OptionError, match="the same whatever the sample: it decides nothing"):
        open_setting(path, data, DataOptions(name="same"))
