"""The door for models."""

import pickle
import random
import zipfile
from pathlib import Path

import onnx
import pytest
from onnx import helper

from sprat.errors import (
    ExternalDataError,
    ModelError,
    ModelFormatError,
    ModelNotFoundError,
    SpratError,
    UnsupportedModelError,
)
from sprat.model.inspect import inspect
from sprat.model.load import load, save, total_bytes
from tests.models import build, cnn, mlp


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_what_was_saved_loads(tmp_path: Path) -> None:
    model = cnn()
    path = save(model, tmp_path / "new" / "model.onnx")
    assert load(path) == model
    assert [p.name for p in path.parent.iterdir()] == ["model.onnx"]


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no such file"):
        load(tmp_path / "nothing.onnx")
    with pytest.raises(ModelNotFoundError, match="not a file"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "HTML page"),
        (b"\n <html>", "HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "Git LFS"),
        (pickle.dumps({"a": 1}), "pickle"),
        (b"\x1f\x8b\x08\x00abc", "gzip"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b'{"a": 1}', "JSON"),
        (b"\x20\x00\x00\x00\x00\x00\x00\x00" + b'{"w":{}}' * 4, "safetensors"),
        (b"\xff" * 100, "not a whole ONNX model"),
    ],
)
def test_other_files_are_called_by_their_name(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFormatError, match=words):
        load(path)


def test_a_checkpoint_is_a_zip_archive(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", b"x")
    with pytest.raises(ModelFormatError, match="checkpoint"):
        load(path)


def test_a_truncated_download(tmp_path: Path) -> None:
    content = cnn().SerializeToString()
    path = tmp_path / "model.onnx"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelFormatError, match=r"cut short|damaged"):
        load(path)


def test_unknown_operators_are_named(tmp_path: Path) -> None:
    model = cnn()
    model.graph.node[0].op_type = "Convolve"
    with pytest.raises(UnsupportedModelError, match="Convolve"):
        load(saved(model, tmp_path))
    model.graph.node[0].op_type = "Conv"
    model.graph.node[0].domain = "com.microsoft.nchwc"
    with pytest.raises(UnsupportedModelError, match="nchwc"):
        load(saved(model, tmp_path))


def test_sizes_that_lie(tmp_path: Path) -> None:
    model = cnn()
    model.graph.initializer[0].dims[0] = 10**9
    with pytest.raises(ModelFormatError, match="wants"):
        load(saved(model, tmp_path))


def test_undefined_doubled_and_circular_values(tmp_path: Path) -> None:
    model = cnn()
    model.graph.node[2].input[0] = "nobody"
    with pytest.raises(ModelFormatError, match="nobody"):
        load(saved(model, tmp_path))
    model = cnn()
    model.graph.node[2].output[0] = "c1"
    with pytest.raises(ModelFormatError, match="there twice"):
        load(saved(model, tmp_path))
    model = cnn()
    model.graph.node[0].input[0] = "r2"
    with pytest.raises(ModelFormatError, match="nothing makes before it"):
        load(saved(model, tmp_path))


def test_control_characters_in_names(tmp_path: Path) -> None:
    model = mlp()
    model.graph.node[0].output[0] = "h\x1b[2J"
    model.graph.node[1].input[0] = "h\x1b[2J"
    with pytest.raises(ModelFormatError, match="control character"):
        load(saved(model, tmp_path))


def external(folder: Path, location: str, length: int | None = None) -> Path:
    """A model whose first weight lies in another file."""
    model = mlp()
    tensor = model.graph.initializer[0]
    raw = tensor.raw_data
    onnx.external_data_helper.set_external_data(tensor, location, 0, length or len(raw))
    tensor.ClearField("raw_data")
    (folder / "weights.bin").write_bytes(raw)
    return saved(model, folder)


def test_external_data_beside_the_model(tmp_path: Path) -> None:
    path = external(tmp_path, "weights.bin")
    assert load(path).graph.initializer[0].raw_data == mlp().graph.initializer[0].raw_data
    assert len(total_bytes(path)) > path.stat().st_size


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "missing.bin", "a\0b"])
def test_external_data_stays_inside(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(b"x" * 10_000)
    with pytest.raises(ExternalDataError):
        load(external(folder, location))


def test_external_data_may_not_leave_by_a_link(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(b"x" * 10_000)
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(ExternalDataError, match="outside"):
        load(external(folder, "link.bin"))


def test_external_data_beyond_the_end(tmp_path: Path) -> None:
    with pytest.raises(ExternalDataError, match="wants bytes"):
        load(external(tmp_path, "weights.bin", length=10**6))


def test_a_string_tensor_and_an_if_load(tmp_path: Path) -> None:
    node = helper.make_node("Identity", ["x"], ["y"], name="same")
    model = build([node], {}, {"x": ["n", 2]}, {"y": ["n", 2]})
    assert load(saved(model, tmp_path)).graph.node[0].name == "same"


def mutated(content: bytes, dice: random.Random) -> bytes:
    """Flip bytes, cut, or splice."""
    data = bytearray(content)
    kind = dice.randrange(4)
    if kind == 0:
        for _ in range(dice.randrange(1, 12)):
            data[dice.randrange(len(data))] = dice.randrange(256)
    elif kind == 1:
        del data[dice.randrange(len(data)) :]
    elif kind == 2:
        start = dice.randrange(len(data))
        del data[start : start + dice.randrange(1, 40)]
    else:
        start, source = dice.randrange(len(data)), dice.randrange(len(data))
        data[start:start] = data[source : source + dice.randrange(1, 200)]
    return bytes(data)


def test_a_thousand_mutants_load_or_give_one_clear_error(tmp_path: Path) -> None:
    small = mlp()
    head = cnn().SerializeToString()
    contents = [small.SerializeToString(), head]
    dice = random.Random(20261124)
    loaded = failed = 0
    path = tmp_path / "mutant.onnx"
    for _ in range(1000):
        content = dice.choice(contents)
        # Weights are most of the bytes: mutate the graph in front of them half of the time.
        if dice.random() < 0.5:
            content = mutated(content[:900], dice) + content[900:]
        else:
            content = mutated(content, dice)
        path.write_bytes(content)
        try:
            inspect(path)
            loaded += 1
        except SpratError as error:
            assert isinstance(error, ModelError)
            assert error.exit_code == 2
            assert str(error).strip()
            failed += 1
    assert loaded + failed == 1000
    assert min(loaded, failed) > 100
