"""What is said aloud of a model with its data."""

from pathlib import Path

import numpy as np
import pytest

from sprat.data.options import DataOptions
from sprat.model.load import save
from sprat.workflow.setting import open_setting
from tests.networks import mlp


@pytest.mark.parametrize("alike", [True, False])
def test_agreement_that_would_say_nothing(tmp_path: Path, alike: bool) -> None:
    samples = np.random.default_rng(0).standard_normal((60, 32)).astype(np.float32)
    same = samples[:1] + np.float32(1e-4) * samples
    np.savez(tmp_path / "data.npz", x=same if alike else samples)
    model = save(mlp(), tmp_path / "model.onnx")
    notes = open_setting(model, tmp_path / "data.npz", DataOptions(kind="classes")).notes
    assert any("answers all" in note for note in notes) == alike
