"""Folders and CSV files of images."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image

from sprat.data import folders, sources, tables
from sprat.data.dataset import Dataset, batches
from sprat.data.labels import class_indices
from sprat.data.options import DataOptions
from sprat.data.sources import Data, open_data
from sprat.errors import DataError, DataNotFoundError, InputError, OptionError, SampleError
from sprat.model.inspect import TensorInfo, tensor_infos
from sprat.model.session import open_session, predict

GREY = [TensorInfo("x", "float32", ("n", 1, 4, 4))]
PLAIN = DataOptions(scale=1.0)


def image(path: Path, value: int = 0) -> Path:
    """Save a grey 4 x 4 image; different values give different contents."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), value, np.uint8)).save(path)
    return path


def fill(folder: Path, names: Sequence[str], count: int = 8, start: int = 0) -> None:
    """Save ``count`` different images into each of some folders."""
    for i, name in enumerate(names):
        for j in range(count):
            image(folder / name / f"{j}.png", start + i * count + j)


def open_grey(
    source: Path | str,
    options: DataOptions = PLAIN,
    columns: int | None = None,
    limit: int | None = None,
) -> Data:
    return open_data(source, GREY, options=options, columns=columns, limit=limit)


def samples(data: Data) -> dict[str, int | None]:
    """Name and label of every sample of all splits."""
    sets = [s for s in (data.train, data.val, data.test) if s is not None]
    return {s.name: s.label for part in sets for s in part.samples}


def said(data: Data) -> str:
    return " | ".join(data.notes)


def total_of(dataset: Dataset) -> float:
    return sum(float(batch["x"].astype(np.float64).sum()) for batch in batches(dataset, 3))


def test_class_folders_without_splits_are_halved(tmp_path: Path) -> None:
    fill(tmp_path, ["cat", "dog"], 30)
    data = open_grey(tmp_path)
    assert data.kind == "folder"
    assert data.classes == data.val.classes == ("cat", "dog")
    assert data.train is None
    assert data.test is not None
    assert data.calibration is data.choice is data.val
    assert data.final is data.test
    assert len(samples(data)) == 60
    assert samples(data)["dog/3.png"] == 1
    assert "one set was given" in said(data)


@pytest.mark.parametrize("val", ["val", "valid", "Validation"])
def test_split_folders_are_kept(val: str, tmp_path: Path) -> None:
    for i, split in enumerate(("train", val, "test")):
        fill(tmp_path / split, ["b", "a"], 2 + i, start=60 * i)
    data = open_grey(tmp_path)
    assert [len(s.samples) for s in (data.calibration, data.choice, data.final)] == [4, 6, 8]
    assert [s.name for s in data.val.samples[:2]] == [f"{val}/a/0.png", f"{val}/a/1.png"]
    assert "cut from" not in said(data)


def test_a_model_eats_what_a_folder_holds(tmp_path: Path) -> None:
    fill(tmp_path, ["val/a", "val/b", "test/a", "test/b"], 5)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["image"], ["y"], axes=[1, 2, 3], keepdims=0)],
        "mean",
        [value("image", TensorProto.FLOAT, ["n", 3, 4, 4])],
        [value("y", TensorProto.FLOAT, ["n"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model)
    data = open_data(tmp_path, tensor_infos(model), options=PLAIN)
    found = predict(open_session(model), batches(data.val, 4))
    assert np.concatenate([outputs["y"] for outputs in found]).tolist() == list(range(10))


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    fill(tmp_path, ["."], 20)
    data = open_grey(tmp_path)
    assert data.classes == ()
    assert set(samples(data).values()) == {None}


def test_an_unlabelled_train_may_stand_beside_labelled_splits(tmp_path: Path) -> None:
    fill(tmp_path, ["train"], 9)
    fill(tmp_path, ["val/a", "val/b", "test/a", "test/b"], 4, start=20)
    data = open_grey(tmp_path)
    assert {s.label for s in data.calibration.samples} == {None}
    assert {s.label for s in data.final.samples} == {0, 1}


def test_files_nested_deeper_belong_to_their_class(tmp_path: Path) -> None:
    fill(tmp_path, ["a", "a/deep/deeper", "b"], 10)
    assert samples(open_grey(tmp_path))["a/deep/deeper/0.png"] == 0


def test_an_empty_class_folder_keeps_its_place(tmp_path: Path) -> None:
    fill(tmp_path, ["a", "c"], 20)
    (tmp_path / "b").mkdir()
    (tmp_path / "aa").mkdir()
    (tmp_path / "aa" / "readme.txt").write_text("no class")
    data = open_grey(tmp_path)
    assert data.classes == ("a", "b", "c")
    assert samples(data)["c/0.png"] == 2


def test_strange_files_are_passed_over_and_said(tmp_path: Path) -> None:
    fill(tmp_path / "data", ["a", "b"], 20)
    secret = image(tmp_path / "secret.png", 250)
    (tmp_path / "outside").mkdir()
    image(tmp_path / "outside" / "x.png", 251)
    inside = tmp_path / "data" / "a"
    (inside / "notes.txt").write_text("hello")
    image(inside / ".hidden.png", 252)
    (inside / "leak.png").symlink_to(secret)
    (inside / "broken.png").symlink_to(inside / "nothing.png")
    (inside / "folder").symlink_to(tmp_path / "outside")
    (inside / "alias.png").symlink_to(inside / "0.png")
    os.mkfifo(inside / "pipe.png")
    data = open_grey(tmp_path / "data")
    assert len(samples(data)) == 41
    for note in (
        "1 hidden files",
        "1 linked folders",
        "1 links that leave the folder",
        "3 files that are no images",
    ):
        assert f"passed over: {note}" in said(data)


def test_a_linked_split_that_leaves_the_folder_is_not_entered(tmp_path: Path) -> None:
    fill(tmp_path / "data", ["val/a", "val/b"], 20)
    fill(tmp_path / "elsewhere", ["a", "b"], 3, start=100)
    (tmp_path / "data" / "train").symlink_to(tmp_path / "elsewhere")
    data = open_grey(tmp_path / "data")
    assert data.train is None
    assert "1 links that leave the folder" in said(data)


def test_folders_beside_the_splits_are_said(tmp_path: Path) -> None:
    fill(tmp_path, ["val/a", "val/b", "test/a", "test/b", "extra"], 3)
    assert "folders beside the splits are passed over: extra" in said(open_grey(tmp_path))


def test_the_same_file_in_two_splits_is_said(tmp_path: Path) -> None:
    fill(tmp_path, ["val/a", "val/b"], 4)
    fill(tmp_path, ["test/a", "test/b"], 4, start=6)
    assert "WARNING: 2 samples of val are also in test" in said(open_grey(tmp_path))


def test_names_that_are_no_unicode_do_no_harm(tmp_path: Path) -> None:
    fill(tmp_path, ["a", "b"], 20)
    odd = os.fsdecode(b"b\xff\x1b[2J.png")
    image(tmp_path / "b" / "x.png", 99).rename(tmp_path / "b" / odd)
    data = open_grey(tmp_path)
    name = next(n for n in samples(data) if "2J" in n)
    assert name.encode() == rb"b/b\xff?[2J.png"
    assert data.val.digest


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds no image"),
        (["only"], "has one class only, 'only'"),
        ([".", "a", "b"], "images beside its class folders, such as 0.png"),
    ],
)
def test_folders_that_make_no_sense(names: list[str], message: str, tmp_path: Path) -> None:
    fill(tmp_path, names)
    with pytest.raises(DataError, match=message) as caught:
        open_grey(tmp_path)
    assert caught.value.hint


def test_a_folder_too_deep_for_the_system_is_one_error(tmp_path: Path) -> None:
    fill(tmp_path, ["a", "b"])
    place = os.open(tmp_path / "b", os.O_RDONLY)
    for _ in range(20):  # one in the other, each by its own short name
        os.mkdir("deep" * 60, dir_fd=place)
        inner = os.open("deep" * 60, os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = inner
    os.close(place)
    with pytest.raises(DataError, match=r"cannot be read \(File name too long\)") as caught:
        open_grey(tmp_path)
    assert caught.value.where.startswith(f"{tmp_path}/b/deepdeep")
    assert "take it out of the data" in caught.value.hint


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, ["a", "b"])
    listed = write_csv(tmp_path, *(f"a/{i}.png" for i in range(8)))
    for room, what in ((folders, "holds more than 7 files"), (tables, "has more than 7 lines")):
        monkeypatch.setattr(room, "MAX_FILES", 7)
        source = listed if room is tables else tmp_path
        with pytest.raises(DataError, match=what) as caught:
            open_grey(source)
        assert caught.value.where == str(source)
        assert "a part of the samples is enough" in caught.value.hint


def test_an_image_that_the_system_refuses_is_named(
    tmp_path: Path, deny: Callable[[Path], None]
) -> None:
    fill(tmp_path, ["a", "b"])
    wanted = tmp_path / "b" / "3.png"
    deny(wanted)
    with pytest.raises(SampleError, match=r"cannot be read \(Permission denied\)") as caught:
        open_grey(tmp_path)
    assert caught.value.where == str(wanted)
    assert "Check its permissions" in caught.value.hint


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    for source in (tmp_path / "nothing", tmp_path / "a.txt", "x\0y", "y" * 5000):
        with pytest.raises(DataNotFoundError, match=r"Give a folder, a CSV, an \.npz"):
            open_grey(source)


@pytest.mark.parametrize("value", range(6))
def test_one_image_chooses_and_verifies(value: int, tmp_path: Path) -> None:
    image(tmp_path / "a.png", value)
    data = open_grey(tmp_path)
    assert data.final is data.choice
    assert len(data.choice.samples) == 1
    assert "WARNING: too few samples to split" in said(data)


def test_a_file_that_is_no_image_is_named_when_it_is_read(tmp_path: Path) -> None:
    fill(tmp_path, ["val/a", "val/b", "test/a", "test/b"], 3)
    (tmp_path / "val" / "a" / "bad.png").write_text("<html>")
    data = open_grey(tmp_path)
    with pytest.raises(SampleError, match=r"val/a/bad\.png: cannot be read as an image"):
        total_of(data.val)


def test_the_limit_holds_for_each_split(tmp_path: Path) -> None:
    fill(tmp_path, ["train/a", "train/b", "val/a", "val/b", "test/a", "test/b"], 8)
    whole, part = open_grey(tmp_path), open_grey(tmp_path, limit=5)
    for few, all_of_it in ((part.train, whole.train), (part.val, whole.val)):
        assert few is not None
        assert all_of_it is not None
        assert len(few.samples) == 5
        assert set(few.samples) < set(all_of_it.samples)
    with pytest.raises(OptionError, match="--limit: is 0"):
        open_grey(tmp_path, limit=0)


@pytest.mark.parametrize("cache", [0, 200, 1 << 20])
def test_the_cache_changes_nothing(
    cache: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, ["val/a", "val/b", "test/a", "test/b"], 8)
    monkeypatch.setattr(sources, "CACHE_BYTES", cache)
    val = open_grey(tmp_path).val
    assert total_of(val) == total_of(val) == 16 * sum(range(16))
    assert total_of(val.subset([3, 1])) == 16 * 4
    assert val.subset([3, 1]).batch([0])["x"].max() == 3


def test_the_digest_hears_the_preprocessing(tmp_path: Path) -> None:
    fill(tmp_path, ["a", "b"], 20)
    one, same, other = (
        open_grey(tmp_path, DataOptions(scale=scale)).val.digest for scale in (1.0, 1.0, 0.5)
    )
    assert one == same != other


@pytest.mark.parametrize(
    ("names", "columns", "indices", "count"),
    [
        (["a10", "a9", "b"], None, {"a9": 0, "a10": 1, "b": 2}, 3),
        (["3", "7"], 10, {"3": 3, "7": 7}, 8),
        (["3", "7"], 5, {"3": 0, "7": 1}, 2),
        (["0", "1"], None, {"0": 0, "1": 1}, 2),
        (["01", "1"], 10, {"01": 0, "1": 1}, 2),
        (["9" * 5000, "²"], 10, {"9" * 5000: 0, "²": 1}, 2),
    ],
)
def test_classes_get_the_indices_of_the_output(
    names: list[str], columns: int | None, indices: dict[str, int], count: int
) -> None:
    index, classes = class_indices(names, DataOptions(), columns, "data")
    assert index == indices
    assert len(classes) == count
    assert all(classes[i] == name for name, i in index.items() if not name.isdigit())


@given(st.sets(st.text(max_size=12), min_size=2, max_size=9), st.integers(0, 20))
def test_classes_are_a_one_to_one_naming(names: set[str], columns: int) -> None:
    index, classes = class_indices(names, DataOptions(), columns, "data")
    assert set(index) == names
    assert len(set(index.values())) == len(names)
    assert max(index.values()) < len(classes)
    assert (index, classes) == class_indices(sorted(names), DataOptions(), columns, "data")


def test_listed_labels_set_the_order(tmp_path: Path) -> None:
    fill(tmp_path, ["cat", "dog"], 20)
    listed = tmp_path / "labels.txt"
    listed.write_text("dog\n\nbird\ncat\n", encoding="utf-8-sig")
    for options in (
        DataOptions(labels=str(listed), scale=1),
        DataOptions(labels=("dog", "bird", "cat"), scale=1),
    ):
        data = open_grey(tmp_path, options)
        assert data.classes == ("dog", "bird", "cat")
        assert samples(data)["cat/0.png"] == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"dog\nbird\n", "does not list cat"),
        (b"dog\ncat\ndog\n", "lists 'dog' 2 times"),
        (b"\n", "lists no class"),
        (b"\xff\xfe", "cannot be read"),
        (b"x" * (2 << 20), "above 1 MB"),
        (None, "cannot be read"),
    ],
)
def test_lists_of_labels_that_do_not_fit(
    content: bytes | None, message: str, tmp_path: Path
) -> None:
    fill(tmp_path / "data", ["cat", "dog"])
    if content is not None:
        (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(OptionError, match=message):
        open_grey(tmp_path / "data", DataOptions(labels=str(tmp_path / "labels.txt")))


def write_csv(folder: Path, *lines: str, name: str = "list.csv") -> Path:
    (folder / name).write_text("\n".join(lines), encoding="utf-8-sig")
    return folder / name


def test_a_csv_of_path_and_label(tmp_path: Path) -> None:
    fill(tmp_path, ["img"], 30)
    lines = [f"img/{i}.png,{'cat' if i % 2 else 'dog'}" for i in range(30)]
    data = open_grey(write_csv(tmp_path, "path,label", *reversed(lines), ""))
    assert data.kind == "csv"
    assert data.classes == ("cat", "dog")
    assert samples(data)["img/3.png"] == 0
    plain = open_grey(write_csv(tmp_path, *lines, name="plain.CSV"))
    assert (plain.val.digest, samples(plain)) == (data.val.digest, samples(data))


def test_a_csv_may_say_the_split_and_no_label(tmp_path: Path) -> None:
    fill(tmp_path, ["img"], 6)
    splits = ["train", "train", "train", "VALID", "valid", "test"]
    data = open_grey(write_csv(tmp_path, *(f"img/{i}.png,,{s}" for i, s in enumerate(splits))))
    sizes = [len(s.samples) for s in (data.calibration, data.choice, data.final)]
    assert sizes == [3, 2, 1]
    assert data.classes == ()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["img/0.png,a", "img/none.png,b"], r"line 2: there is no image 'img/none\.png'"),
        (["img/0.png,a", "../secret.png,b"], r"line 2: leaves the CSV's folder"),
        (["img/link.png,a"], r"line 1: leaves the CSV's folder"),
        (["img/0.png,a", "", "img/./0.png,b"], r"line 3: names 'img/\./0\.png' again"),
        (["img/0.png,a,holdout"], r"line 1: has the unknown split 'holdout'"),
        (["img/0.png,a,val,more"], r"line 1: has 4 columns"),
        (["img/0.png,a,val", "img/1.png,b"], "only some of its lines a split"),
        (["img/0.png,a", "img/1.png"], "only some of the lines a label"),
        (["img/0.png,a", "img/1.png,a"], "has one class only"),
        (["path,label"], "holds no samples"),
        ([""], "holds no samples"),
        (["x\0y,a"], "line"),
        (["z" * 3000 + ",a"], r"line 1: 'zzz.*is no path"),
        (["z" * 200_000], "cannot be read as CSV"),
        (['"open quote,a'], "there is no image"),
    ],
)
def test_a_csv_that_makes_no_sense(lines: list[str], message: str, tmp_path: Path) -> None:
    fill(tmp_path / "data", ["img"], 3)
    secret = image(tmp_path / "secret.png", 99)
    (tmp_path / "data" / "img" / "link.png").symlink_to(secret)
    with pytest.raises(DataError, match=message):
        open_grey(write_csv(tmp_path / "data", *lines))


@given(content=st.binary(max_size=200))
def test_any_bytes_as_a_csv_are_one_error(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(content)
    with pytest.raises(InputError):
        open_grey(path)
