"""The door for models: what is let in, and how the rest is refused."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from sprat.errors import (
    CostlyModelError,
    ExternalDataError,
    ModelFormatError,
    ModelNotFoundError,
    OutputError,
    SpratError,
    UnsupportedModelError,
)
from sprat.files import sha256_file
from sprat.model.inspect import inspect
from sprat.model.load import is_whole, load, save, sha256_model, total_bytes
from sprat.model.session import Feeds, open_session, run
from tests.models import (
    cnn_with_batch_norm,
    depthwise_cnn,
    images,
    mlp,
    one_logit_cnn,
    with_external_data,
)

Change = Callable[[onnx.ModelProto], object]


def _graph(
    nodes: Sequence[onnx.NodeProto],
    weights: Sequence[onnx.TensorProto] = (),
    functions: Sequence[onnx.FunctionProto] = (),
    **domains: int,
) -> onnx.ModelProto:
    """Build a model from ``x [n, 4]`` to ``y`` without any check."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "small", [x], [y], weights)
    opsets = [helper.make_opsetid("", 17)]
    opsets += [helper.make_opsetid(k.replace("_", "."), v) for k, v in domains.items()]
    return helper.make_model(graph, functions=functions, opset_imports=opsets, ir_version=9)


def _refused(
    model: onnx.ModelProto | bytes, folder: Path, kind: type[SpratError] = ModelFormatError
) -> str:
    """Load a model that must be refused; return the message."""
    path = folder / "model.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    with pytest.raises(SpratError) as caught:
        load(path)
    message = str(caught.value)
    assert type(caught.value) is kind, message
    assert message.isprintable()
    assert len(message) < 500
    assert message.startswith(str(path.parent))
    return message


@pytest.mark.parametrize("build", [cnn_with_batch_norm, one_logit_cnn, depthwise_cnn, mlp])
def test_what_is_saved_loads_as_it_was(
    build: Callable[[], onnx.ModelProto], tmp_path: Path
) -> None:
    model = build()
    path = save(model, tmp_path / "new" / "model.onnx")
    assert load(path) == model
    assert total_bytes(path) == path.read_bytes() == model.SerializeToString(deterministic=True)


def test_a_model_above_two_gigabytes_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sprat.model.result.MAX_BYTES", 1000)
    with pytest.raises(OutputError, match="2 GB"):
        save(one_logit_cnn(), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["missing.onnx", "missing/model.onnx", ".", "x" * 300, "a\0b"])
def test_no_file_no_model(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        load(tmp_path / name)


def test_a_file_above_two_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sparse.onnx"
    with path.open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(ModelFormatError, match="2 GB"):
        load(path)


def _zip(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, b"weights")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "empty"),
        (b"\n<!DOCTYPE html><html><body>404</body></html>", "HTML"),
        (b"\xef\xbb\xbf<HTML>", "HTML"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML"),
        (b'{"error": "not found"}', "JSON"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
        (_zip("archive/data.pkl"), "PyTorch checkpoint"),
        (_zip("weight.npy"), "NumPy archive"),
        (_zip("anything"), "zip archive"),
        (b"\x80\x02}q\x00.", "pickle"),
        (gzip.compress(b"model", mtime=0), "gzip"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x1c\x00\x00\x00TFL3\x14\x00", "TensorFlow Lite"),
        (b"\x1c\x00\x00\x00ORTM\x14\x00", ".ort"),
        (b"\x40\0\0\0\0\0\0\0" + b'{"a": {"dtype": "F32"}}', "safetensors"),
        (b"\x08\x01\x12\x10\x0a\x0esaved_model_ab", "TensorFlow SavedModel"),
        (b"GGUF\x03\0\0\0", "GGUF"),
        (b"\x28\xb5\x2f\xfd\x24", "zstd"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"just some words", "not a whole ONNX model"),
    ],
)
def test_other_files_are_named(content: bytes, named: str, tmp_path: Path) -> None:
    assert named in _refused(content, tmp_path)


def test_a_download_cut_short_is_refused_at_every_length(tmp_path: Path) -> None:
    content = mlp().SerializeToString()
    for length in range(1, len(content), 97):
        _refused(content[:length], tmp_path)


def test_external_data_is_taken_in(tmp_path: Path) -> None:
    path = with_external_data(tmp_path / "model.onnx")
    model = load(path)
    feeds: Feeds = {"input": images(2)}
    assert not any(t.external_data for t in model.graph.initializer)
    assert total_bytes(path) == path.read_bytes() + (tmp_path / "model.onnx.data").read_bytes()
    wanted = run(open_session(one_logit_cnn()), feeds)
    assert np.array_equal(run(open_session(model), feeds)["output"], wanted["output"])
    assert inspect(path).parameters == inspect(save(model, tmp_path / "one.onnx")).parameters


def test_a_model_is_known_by_its_weights_wherever_they_lie(tmp_path: Path) -> None:
    path = with_external_data(tmp_path / "model.onnx")
    before, graph = sha256_model(path), path.read_bytes()
    assert not is_whole(path)
    data = tmp_path / "model.onnx.data"
    data.write_bytes(np.zeros(data.stat().st_size, np.uint8).tobytes())  # as if trained again
    assert path.read_bytes() == graph
    assert sha256_model(path) != before
    alone = save(load(path), tmp_path / "alone.onnx")
    assert is_whole(alone)
    assert sha256_model(alone) == sha256_file(alone)


def _edit_external(path: Path, **entries: str) -> bytes:
    model = onnx.load(path, load_external_data=False)
    tensor = next(t for t in model.graph.initializer if t.external_data)
    kept = {e.key: e.value for e in tensor.external_data} | entries
    del tensor.external_data[:]
    for key, value in kept.items():
        tensor.external_data.add(key=key, value=value)
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"location": "../secret.bin"}, "outside"),
        ({"location": "a/../../secret.bin"}, "outside"),
        ({"location": "link.bin"}, "outside"),
        ({"location": "none.bin"}, "missing"),
        ({"location": ""}, "outside"),
        ({"location": "a\0b"}, "no file name"),
        ({"location": "x" * 5000}, "no file name"),
        ({"offset": "1000000"}, "wants bytes"),
        ({"length": "1000000000000"}, "wants bytes"),
        ({"offset": "-8"}, "wants bytes"),
        ({"length": "many"}, "no number"),
        ({"length": "4"}, "has 4 bytes"),
    ],
)
def test_external_data_stays_in_its_folder_and_is_whole(
    entries: dict[str, str], said: str, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(100_000))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    content = _edit_external(with_external_data(folder / "model.onnx"), **entries)
    kind = ModelFormatError if said == "has 4 bytes" else ExternalDataError
    assert said in _refused(content, folder, kind)


def test_external_data_above_two_gigabytes_is_refused(tmp_path: Path) -> None:
    path = with_external_data(tmp_path / "model.onnx", mlp())
    data = tmp_path / "model.onnx.data"
    with data.open("r+b") as file:
        file.truncate(2**31 - 4)  # two of them are too much, and take no space on the disk
    content = _edit_external(path, offset="0", length=str(2**31 - 4))
    model = onnx.load_from_string(content)
    whole, other = [t for t in model.graph.initializer if t.external_data][:2]
    del other.external_data[:]
    other.external_data.extend(whole.external_data)
    said = _refused(model, tmp_path, ExternalDataError)
    assert f"{path}: its external data has 4.3 GB in all; at most 2 GB load" in said
    os.truncate(data, 2**31)
    said = _refused(content, tmp_path, ExternalDataError)
    assert f"{data}: is external data of 2.1 GB; at most 2 GB load" in said


def test_external_data_that_the_system_refuses_is_named(
    tmp_path: Path, deny: Callable[[Path], None]
) -> None:
    path = with_external_data(tmp_path / "model.onnx")
    deny(tmp_path / "model.onnx.data")
    with pytest.raises(ExternalDataError, match=r"cannot be read \(Permission denied\)") as caught:
        load(path)
    assert caught.value.where == str(tmp_path / "model.onnx.data")
    assert "Check its permissions" in caught.value.hint


def test_an_absolute_location_is_refused(tmp_path: Path) -> None:
    path = with_external_data(tmp_path / "model.onnx")
    content = _edit_external(path, location=str(tmp_path / "model.onnx.data"))
    assert "outside" in _refused(content, tmp_path, ExternalDataError)


def _set_raw(model: onnx.ModelProto, data: bytes) -> None:
    model.graph.initializer[0].raw_data = data


def _deepen(value: onnx.ValueInfoProto) -> None:
    for _ in range(40):
        value.type.tensor_type.shape.dim.add(dim_value=1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: _set_raw(m, b"1234"), "wants"),
        (lambda m: m.graph.initializer[0].dims.append(10**9), "wants"),
        (lambda m: m.graph.initializer[0].dims.append(-1), "shape"),
        (lambda m: m.graph.initializer[0].dims.extend([1] * 40), "shape"),
        (lambda m: m.graph.initializer[0].float_data.append(1.0), "wants"),
        (lambda m: setattr(m.graph.initializer[0], "data_type", 77), "unknown type"),
        (lambda m: setattr(m.graph.initializer[0], "name", "w\x1b[2J"), "control character"),
        (lambda m: setattr(m.graph.node[0], "op_type", "Conv\n"), "control character"),
        (lambda m: setattr(m.graph.initializer[0], "name", ""), "without a name"),
        (lambda m: m.graph.initializer.append(m.graph.initializer[0]), "twice"),
        (lambda m: m.graph.input.append(m.graph.input[0]), "twice"),
        (lambda m: m.graph.node.append(m.graph.node[0]), "twice"),
        (lambda m: m.graph.node.pop(), "nothing makes the output"),
        (lambda m: m.graph.node[0].input.__setitem__(0, "relu3"), "nothing makes"),
        (lambda m: m.graph.node[0].input.extend(["input"] * 9), "inputs"),
        (lambda m: m.graph.node[0].attribute.append(m.graph.node[0].attribute[0]), "twice"),
        (lambda m: m.graph.node[1].attribute.append(helper.make_attribute("axis", 1)), "axis"),
        (lambda m: m.graph.node[0].attribute[0].floats.append(3), "without a clear value"),
        (lambda m: m.ClearField("opset_import"), "opset"),
        (lambda m: setattr(m.opset_import[0], "version", -3), "version -3"),
        (lambda m: _deepen(m.graph.output[0]), "value 'output' has more than 32 axes"),
    ],
)
def test_a_model_that_contradicts_itself_is_refused(
    change: Change, said: str, tmp_path: Path
) -> None:
    model = one_logit_cnn()
    change(model)
    assert said in _refused(model, tmp_path)


def test_text_that_is_no_text_is_refused(tmp_path: Path) -> None:
    content = one_logit_cnn().SerializeToString().replace(b"relu1", b"rel\xff1")
    assert "has a field 'output' that is no text" in _refused(content, tmp_path)


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (_graph([helper.make_node("Frobnicate", ["x"], ["y"], name="seven")]), "'seven'"),
        (_graph([helper.make_node("Gelu", ["x"], ["y"])]), "opset 17"),
        (_graph([helper.make_node("Upsample", ["x", "x"], ["y"])]), "Upsample"),
        (_graph([helper.make_node("Relu", ["x"], ["y"], domain="acme")], acme=1), "'acme'"),
        (
            _graph(
                [helper.make_node("Conv", ["x", "x"], ["y"], domain="com.microsoft.nchwc")],
                com_microsoft_nchwc=1,
            ),
            "nchwc",
        ),
        (
            _graph([helper.make_node("No", ["x"], ["y"], domain="com.microsoft")], com_microsoft=1),
            "'No'",
        ),
    ],
)
def test_unknown_operators_are_named(model: onnx.ModelProto, named: str, tmp_path: Path) -> None:
    assert named in _refused(model, tmp_path, UnsupportedModelError)


def test_an_opset_from_the_future_is_refused(tmp_path: Path) -> None:
    model = one_logit_cnn()
    model.opset_import[0].version = 2**62
    assert "opset" in _refused(model, tmp_path, UnsupportedModelError)


def test_operators_of_the_runtime_are_welcome(tmp_path: Path) -> None:
    node = helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")
    path = save(_graph([node], com_microsoft=1), tmp_path / "model.onnx")
    values = run(open_session(load(path)), {"x": np.ones((2, 4), np.float32)})["y"]
    assert values.shape == (2, 4)
    assert "does not say" in _refused(_graph([node]), tmp_path)


def _function(name: str, *calls: str) -> onnx.FunctionProto:
    values = ["x", *(f"v{i}" for i in range(len(calls) - 1)), "y"]
    nodes = [
        helper.make_node(call, [before], [after], domain="" if call == "Relu" else "own")
        for call, before, after in zip(calls, values[:-1], values[1:], strict=True)
    ]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_function("own", name, ["x"], ["y"], nodes, opsets)


def test_functions_load_unless_they_explode(tmp_path: Path) -> None:
    call = [helper.make_node("F0", ["x"], ["y"], domain="own")]
    path = save(_graph(call, (), [_function("F0", "Relu", "Relu")], own=1), tmp_path / "f.onnx")
    assert run(open_session(load(path)), {"x": -np.ones((1, 4), np.float32)})["y"].max() == 0
    doubling = [_function(f"F{i}", f"F{i + 1}", f"F{i + 1}") for i in range(40)]
    bomb = _graph(call, (), [*doubling, _function("F40", "Relu")], own=1)
    assert "functions expanded" in _refused(bomb, tmp_path, CostlyModelError)
    endless = _graph(call, (), [_function("F0", "F1"), _function("F1", "F0")], own=1)
    assert "calls itself" in _refused(endless, tmp_path)
    twice = _graph(call, (), [_function("F0", "Relu"), _function("F0", "Relu", "Relu")], own=1)
    assert "function 'F0' is there twice" in _refused(twice, tmp_path)
    hollow = _function("F0", "Relu")
    hollow.output[0] = "z"
    said = _refused(_graph(call, (), [hollow], own=1), tmp_path)
    assert "nothing makes the output 'z' of the function 'F0'" in said


def test_subgraphs_see_the_graph_around_them(tmp_path: Path) -> None:
    def branch(operator: str, value: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(f"{operator}_out", TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(operator, [value], [out.name])], "b", [], [out])

    def model(value: str) -> onnx.ModelProto:
        weights = [numpy_helper.from_array(np.array(False), "flag")]
        then, other = branch("Relu", "x"), branch("Neg", value)
        choice = helper.make_node("If", ["flag"], ["y"], then_branch=then, else_branch=other)
        return _graph([choice], weights)

    path = save(model("x"), tmp_path / "if.onnx")
    assert run(open_session(load(path)), {"x": np.ones((1, 4), np.float32)})["y"].max() == -1
    assert "'hidden'" in _refused(model("hidden"), tmp_path)


def test_shapes_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    shape = numpy_helper.from_array(np.array([10**6, 10**6], np.int64), "shape")
    model = _graph([helper.make_node("ConstantOfShape", ["shape"], ["y"])], [shape])
    assert "GB" in _refused(model, tmp_path, UnsupportedModelError)


def test_sparse_tensors_are_refused(tmp_path: Path) -> None:
    model = mlp()
    sparse = model.graph.sparse_initializer.add()
    sparse.dims.append(10**9)
    assert "sparse" in _refused(model, tmp_path, UnsupportedModelError)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_load_or_give_one_clear_error(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(content)
        with pytest.raises(ModelFormatError):
            load(path)
