"""What is said aloud of a model with its data."""

from pathlib import Path

import numpy as np
import pytest

from sprat.data.options import DataOptions
from sprat.errors import InputError, ModelNotFoundError, OptionError, OutputError
from sprat.files import check_out
from sprat.model.load import model_file, save
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


LONG = Path("x" * 5000)


def test_a_name_that_the_system_refuses_is_missing(tmp_path: Path) -> None:
    model = save(mlp(), tmp_path / "model.onnx")
    with pytest.raises(InputError, match="xxx"):
        open_setting(model, LONG, DataOptions())
    with pytest.raises(ModelNotFoundError):
        open_setting(model_file(LONG), tmp_path, DataOptions())
    check_out(LONG)
    with pytest.raises(OutputError, match="is a file"):
        check_out(model)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def score(:\n", "SyntaxError"),
        ("print(unknown)\n", "NameError"),
        ("other = 1\n", "AttributeError"),
    ],
)
def test_a_metric_that_cannot_be_imported_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"mine_{words.lower()}"
    (tmp_path / f"{name}.py").write_text(code)
    np.savez(tmp_path / "data.npz", x=np.zeros((8, 32), np.float32))
    model = save(mlp(), tmp_path / "model.onnx")
    options = DataOptions(kind="classes", metric=f"{name}:score")
    with pytest.raises(OptionError, match=f"cannot be imported .{words}"):
        open_setting(model, tmp_path / "data.npz", options)
