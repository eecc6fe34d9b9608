"""Ready tensors from .npz files and from Python callables."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sprat.data import archives, callables
from sprat.data.dataset import batches
from sprat.data.options import DataOptions
from sprat.data.sources import Data, open_data
from sprat.data.tensors import Part, join
from sprat.errors import DataError, DataNotFoundError, InputError, OptionError, ShapeMismatchError
from sprat.model.inspect import TensorInfo

VECTOR = [TensorInfo("x", "float32", ("n", 3))]
PAIR = [TensorInfo("ids", "int64", ("n", "length")), TensorInfo("scale", "float32", ("n",))]


def rows(count: int, start: int = 0) -> NDArray[np.float32]:
    """Different rows, the same for the same ``start``."""
    return np.arange(start * 3, (start + count) * 3, dtype=np.float32).reshape(count, 3)


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def open_vectors(source: Path | str, inputs: list[TensorInfo] = VECTOR, **options: Any) -> Data:
    return open_data(source, inputs, options=DataOptions(**options))


def sizes(data: Data) -> list[int]:
    return [len(s.samples) for s in (data.calibration, data.choice, data.final)]


def labels(data: Data) -> dict[int, int | None]:
    sets = [s for s in (data.train, data.val, data.test) if s is not None]
    return {int(s.name): s.label for part in sets for s in part.samples}


def test_an_input_without_an_axis_of_samples_is_told(tmp_path: Path) -> None:
    rate = TensorInfo("rate", "int64", ())
    source = npz(tmp_path / "a.npz", x=rows(40), rate=np.arange(40))
    with pytest.raises(ShapeMismatchError, match="'rate' is a single value"):
        open_vectors(source, [*VECTOR, rate])


def test_an_npz_is_halved_by_content(tmp_path: Path) -> None:
    data = open_vectors(npz(tmp_path / "a.npz", x=rows(40), label=np.arange(40) % 3))
    assert data.kind == "npz"
    assert data.classes == ("0", "1", "2")
    assert data.preprocess is None
    assert labels(data) == {i: i % 3 for i in range(40)}
    for dataset in (data.choice, data.final):
        whole = np.concatenate([feeds["x"] for feeds in batches(dataset, 7)])
        assert np.array_equal(whole, rows(40)[[int(s.name) for s in dataset.samples]])
        assert np.array_equal(dataset.subset([2, 0]).batch([1])["x"], dataset.batch([0])["x"])
    alone = open_vectors(npz(tmp_path / "b.npz", x=rows(60)))
    assert {s.name for s in data.choice.samples} <= {s.name for s in alone.choice.samples}


def test_an_npz_may_name_splits_and_classes(tmp_path: Path) -> None:
    split = np.array(["train"] * 5 + ["Val"] * 4 + ["test"] * 3)
    label = np.array([b"dog", b"cat", b"dog"] * 4)
    data = open_vectors(npz(tmp_path / "a.npz", x=rows(12), labels=label, split=split))
    assert sizes(data) == [5, 4, 3]
    assert data.classes == ("cat", "dog")
    assert labels(data)[0] == 1


def test_a_folder_of_npz_files_by_split(tmp_path: Path) -> None:
    npz(tmp_path / "train.npz", x=rows(5), extra=np.zeros(5))
    npz(tmp_path / "Val.npz", x=rows(4, 50), label=np.array([0.0, 1.0, 1.0, 0.0]))
    npz(tmp_path / "test.npz", x=rows(3, 90), label=np.array([[1], [0], [1]]))
    data = open_vectors(tmp_path)
    assert sizes(data) == [5, 4, 3]
    assert [s.label for s in data.calibration.samples] == [None] * 5
    assert [s.label for s in data.final.samples] == [1, 0, 1]
    assert "passed over: extra" in " ".join(data.notes)


def test_npz_files_of_one_split_are_joined(tmp_path: Path) -> None:
    npz(tmp_path / "train.npz", x=rows(5))
    npz(tmp_path / "val.npz", x=rows(4, 50))
    npz(tmp_path / "validation.npz", x=rows(6, 70))
    npz(tmp_path / "test.npz", x=rows(3, 90))
    assert sizes(open_vectors(tmp_path)) == [5, 10, 3]


def test_several_inputs_of_other_types(tmp_path: Path) -> None:
    ids = np.arange(40, dtype=np.int32).reshape(10, 4)
    data = open_vectors(npz(tmp_path / "a.npz", ids=ids, scale=np.ones(10)), PAIR)
    feeds = data.choice.batch([0])
    assert feeds["ids"].dtype == np.int64
    assert feeds["scale"].dtype == np.float32
    assert feeds["ids"].shape == (1, 4)


def test_text_is_fed_as_objects(tmp_path: Path) -> None:
    inputs = [TensorInfo("text", "string", ("n",))]
    data = open_vectors(npz(tmp_path / "a.npz", text=np.array(["ab", "c", "ab"])), inputs)
    assert data.choice.batch([0])["text"].dtype == object
    assert data.choice.digest


CASES = st.sampled_from(["bool", "uint8", "int8", "int32", "int64", "float16", "float32"])


@given(
    st.lists(st.sampled_from([0, 1, -1, 0.5, 255, 300, 65536, 2**40, 1e-3, np.inf]), min_size=1),
    CASES,
    CASES,
)
def test_a_cast_changes_no_value_or_is_an_error(
    values: list[float], saved: str, wanted: str
) -> None:
    with np.errstate(all="ignore"):
        array = np.array(values).astype(saved)
    tensor = TensorInfo("x", wanted, ("n",))
    try:
        joined = join([Part({"x": array}, "", "here")], [tensor], DataOptions(), None)
    except ShapeMismatchError as error:
        assert error.what.endswith("without loss.")
        return
    found = joined.arrays["x"]
    assert isinstance(found, np.ndarray)
    assert found.dtype == wanted
    assert np.array_equal(found.astype(np.float64), array.astype(np.float64))


X12 = rows(12)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": X12}, "has no array 'x'; it has y"),
        ({"x": rows(12)[:, :2]}, r"'x' has shape \[12, 2\]; the model wants \[12, 3\]"),
        ({"x": np.float32(3)}, "there are no samples"),
        ({"x": rows(0)}, "there are no samples"),
        ({"x": X12.astype(np.float64) / 3}, "does not become the input's float32 without loss"),
        ({"x": X12.astype("U9")}, "without loss"),
        ({"x": X12.astype(complex)}, "without loss"),
        ({"x": X12, "label": np.arange(11)}, r"'label' is int64\[11\]"),
        ({"x": X12, "label": np.arange(12) * 1j}, "'label' is complex"),
        ({"x": X12, "label": np.arange(12) - 1}, "has the label -1"),
        ({"x": X12, "label": np.arange(12) * 2**50}, "has the label"),
        ({"x": X12, "label": np.ones(12)}, "one label only, 1"),
        ({"x": X12, "label": np.full(12, "cat")}, "one class only, 'cat'"),
        ({"x": X12, "split": np.full(12, "holdout")}, "unknown split 'holdout'"),
        ({"x": X12, "split": np.array(["val", ""] * 6)}, "only some samples a split"),
        ({"x": np.array([None] * 12)}, r"cannot be read as \.npz"),
    ],
)
def test_arrays_that_do_not_fit(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        open_vectors(npz(tmp_path / "a.npz", **arrays))


def test_empty_axes_are_refused(tmp_path: Path) -> None:
    inputs = [TensorInfo("x", "float32", ("n", "a", "b"))]
    with pytest.raises(ShapeMismatchError, match=r"\[5, 0, 2\]"):
        open_vectors(npz(tmp_path / "a.npz", x=np.zeros((5, 0, 2), np.float32)), inputs)


def test_types_that_numpy_lacks_are_an_error(tmp_path: Path) -> None:
    inputs = [TensorInfo("x", "bfloat16", ("n", 3))]
    with pytest.raises(ShapeMismatchError, match="bfloat16"):
        open_vectors(npz(tmp_path / "a.npz", x=rows(5)), inputs)


def test_splits_of_different_shapes_keep_them(tmp_path: Path) -> None:
    inputs = [TensorInfo("x", "float32", ("n", "width"))]
    npz(tmp_path / "val.npz", x=rows(4))
    npz(tmp_path / "test.npz", x=rows(4).reshape(6, 2))
    data = open_vectors(tmp_path, inputs)
    shapes = [data.choice.batch([0, 1])["x"].shape, data.final.batch([0, 1])["x"].shape]
    assert shapes == [(2, 3), (2, 2)]
    assert not data.choice.is_ragged


def test_listed_classes_name_ready_labels(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", x=rows(12), label=np.arange(12) % 2)
    assert open_vectors(path, labels=("a", "b", "c")).classes == ("a", "b", "c")
    named = npz(tmp_path / "b.npz", x=rows(12), label=np.array(["b", "a"] * 6))
    assert labels(open_vectors(named, labels=("b", "c", "a")))[1] == 2
    wide = npz(tmp_path / "c.npz", x=rows(12), label=np.arange(12))
    with pytest.raises(DataError, match="labels are 0 to 2"):
        open_vectors(wide, labels=("a", "b", "c"))


def test_archives_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npz(tmp_path / "val.npz", x=rows(100))
    npz(tmp_path / "test.npz", x=rows(100))
    monkeypatch.setattr(archives, "MAX_BYTES", 2000)
    with pytest.raises(DataError, match="unpacks to"):
        open_vectors(tmp_path)


def test_too_many_samples_are_refused(tmp_path: Path) -> None:
    source = npz(tmp_path / "a.npz", x=np.zeros((2_000_001, 1), np.uint8))
    with pytest.raises(DataError, match="holds more than 2,000,000 samples") as caught:
        open_vectors(source, [TensorInfo("x", "uint8", ("n", 1))])
    assert caught.value.where == str(source)
    assert "a part of the samples is enough" in caught.value.hint


def test_a_header_that_promises_too_much_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 50, 3)}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue())
    with pytest.raises(DataError, match="unpacks to"):
        open_vectors(tmp_path / "a.npz")


@given(position=st.integers(0, 4000), value=st.integers(0, 255), cut=st.integers(0, 2000))
def test_a_damaged_archive_is_read_or_one_error(
    position: int, value: int, cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    content = bytearray(npz(path, x=rows(40), label=np.arange(40) % 2).read_bytes())
    content[position % len(content)] = value
    path.write_bytes(content[: len(content) - cut] if cut % 3 == 0 else content)
    try:
        assert sum(sizes(open_vectors(path))[1:]) == 40
    except InputError as error:
        assert str(path) in str(error)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh module in the current folder."""
    monkeypatch.chdir(tmp_path)
    name = f"samples_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(
        """
import numpy as np

def rows(start, count):
    return np.arange(3 * start, 3 * (start + count), dtype=np.float32).reshape(count, 3)

def plain():
    for i in range(10):
        yield {"x": rows(4 * i, 4)}

def by_split(split):
    if split != "train":
        start = {"val": 0, "test": 50}[split]
        yield {"x": rows(start, 4)}, [0, 1, 0, 1]
        yield {"x": rows(start + 4, 2)}, [1, 1]
    return

def named(split="val", *, seed=0):
    return [({"x": rows(len(split), 6)}, ["dog", "cat"] * 3)] if split == "val" else []

def no_dicts():
    yield rows(0, 4)

def uneven():
    yield {"x": rows(0, 4)}
    yield {"x": rows(4, 4), "y": rows(4, 4)}

def fails():
    yield {"x": rows(0, 4)}
    raise KeyError("oops")

def nothing():
    return None

def none():
    return iter(())

def endless():
    while True:
        yield {"x": rows(0, 4)}

number = 3
"""
    )
    return name


def test_a_callable_without_arguments_gives_one_set(module: str) -> None:
    data = open_vectors(f"{module}:plain")
    assert data.kind == "callable"
    assert sorted(labels(data)) == list(range(40))
    assert "one set was given" in " ".join(data.notes)


def test_a_callable_is_asked_for_each_split(module: str) -> None:
    data = open_vectors(f"{module}:by_split")
    assert data.train is None
    assert sizes(data) == [6, 6, 6]
    assert [s.label for s in data.final.samples] == [0, 1, 0, 1, 1, 1]
    assert data.final.batch([0])["x"].tolist() == [[150, 151, 152]]


def test_a_callable_may_name_classes(module: str) -> None:
    assert open_vectors(f"{module}:named").classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        ("no_dicts", DataError, "yields ndarray; it must yield dicts"),
        ("uneven", DataError, r"yields \['x', 'y'\] after \['x'\]"),
        ("fails", DataError, r"failed \(KeyError: 'oops'\)"),
        ("nothing", DataError, r"failed \(TypeError"),
        ("none", DataNotFoundError, "there are no samples"),
        ("endless", DataError, "yields more than"),
        ("missing", OptionError, "cannot be imported .AttributeError"),
        ("number", OptionError, "is no function to call"),
    ],
)
def test_callables_that_make_no_sense(
    function: str,
    error: type[Exception],
    message: str,
    module: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(callables, "MAX_BYTES", 10_000)
    with pytest.raises(error, match=message):
        open_vectors(f"{module}:{function}")


@pytest.mark.parametrize("name", ["no_such_module_at_all:f", "...:f", "os.path.:f"])
def test_modules_that_are_not_there(name: str) -> None:
    with pytest.raises(OptionError, match="cannot be imported"):
        open_vectors(name)
