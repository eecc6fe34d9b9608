"""What is said aloud of a model with its data, and what other commands get to know of it."""

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image

from sprat.data.options import DataOptions
from sprat.errors import DataError, InputError, ModelNotFoundError, OptionError, OutputError
from sprat.files import check_out
from sprat.model.load import load, model_file, save
from sprat.quantization.configs import Weights
from sprat.quantization.quantize import quantize
from sprat.workflow.budget import Budget
from sprat.workflow.optimize import optimize
from sprat.workflow.setting import open_setting
from sprat.workflow.verify import verify
from tests.networks import cnn, mlp


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """A model of any height and width, as Hugging Face has it: how to read is beside it."""
    model = cnn(classes=2)
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"side {axis}"
    (tmp_path / "hf").mkdir()
    how = {"size": {"height": 16, "width": 16}, "image_mean": [0.4] * 3, "image_std": [0.2] * 3}
    (tmp_path / "hf/preprocessor_config.json").write_text(json.dumps(how))
    return save(model, tmp_path / "hf/model.onnx")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Of several sizes, from which none can be guessed."""
    random = np.random.default_rng(0)
    for i in range(24):
        path = tmp_path / "photos" / ("cat", "dog")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (20 + i, 30, 3)
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(path)
    return tmp_path / "photos"


def test_the_results_say_how_the_originals_data_is_read(original: Path, photos: Path) -> None:
    out = photos.parent / "small"
    optimize(original, photos, out, budget=Budget(max_drop=100, minutes=0.01))
    own, theirs = open_setting(out / "model.onnx", photos), open_setting(original, photos)
    assert own.data.preprocess == theirs.data.preprocess
    assert own.data.preprocess is not None
    assert own.data.preprocess.mean == (0.4, 0.4, 0.4)
    assert own.reference.reading == theirs.reference.reading


def test_a_verdict_reads_the_data_as_the_original_does(original: Path, photos: Path) -> None:
    (photos.parent / "small").mkdir()
    small = photos.parent / "small/model.onnx"
    save(quantize(load(original), Weights(), []), small)
    verdict = verify(small, original, photos, max_drop=100)
    assert [c.name for c in verdict.checks][-1] == "lean runtime"


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


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise KeyError('top')", "mine_0:score: the metric failed: KeyError: 'top'"),
        ("return [1.0]", r"mine_1:score: the metric gave shape \[1\]; .* sample, \[8\]"),
        (
            "return [float('nan')] * 8",
            "mine_2:score: the metric gave 8 numbers that are not finite",
        ),
    ],
)
def test_a_metric_that_gives_no_number_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    name = words.partition(":")[0]
    (tmp_path / f"{name}.py").write_text(f"def score(outputs, labels):\n    {body}\n")
    np.savez(tmp_path / "data.npz", x=np.zeros((8, 32), np.float32))
    model = save(mlp(), tmp_path / "model.onnx")
    options = DataOptions(kind="classes", metric=f"{name}:score")
    with pytest.raises(OptionError, match=words):
        open_setting(model, tmp_path / "data.npz", options)


def test_outputs_that_cannot_be_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data.npz"
    np.savez(data, x=np.random.default_rng(0).standard_normal((8, 32)).astype(np.float32))
    path = save(mlp(), tmp_path / "model.onnx")
    reference = open_setting(path, data, DataOptions(kind="classes")).reference
    with pytest.raises(DataError, match=r"output 'y' has shape \[5, 5\] in .* no counterpart"):
        reference.compare({"z": np.zeros((5, 5))})
    with pytest.raises(DataError, match=r"output 'y' has shape \[5, 5\] in the .* and \[5, 1\] in"):
        reference.compare({"y": np.zeros((5, 1))})
    with monkeypatch.context() as limited:
        limited.setattr("sprat.evaluate.predict._MAX_OUTPUT_BYTES", 8)
        with pytest.raises(DataError, match=r"the outputs of 5 samples take .* GB.*--limit"):
            open_setting(path, data, DataOptions(kind="classes"))
    listing = mlp()
    listing.graph.node.append(helper.make_node("SequenceConstruct", ["y"], ["list"]))
    listing.graph.output[0].CopyFrom(
        helper.make_tensor_sequence_value_info("list", TensorProto.FLOAT, None)
    )
    save(listing, path)
    with pytest.raises(
        DataError, match=r"output 'list' is no tensor of numbers.*tensors of scores"
    ):
        open_setting(path, data, DataOptions(kind="classes"))
