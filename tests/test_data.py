"""The data room: any source, hostile or not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sprat.data.dataset import Sample, batches
from sprat.data.options import DataOptions, read_options
from sprat.data.sources import Data, open_data
from sprat.data.splits import limited, split_rows
from sprat.errors import (
    DataError,
    DataNotFoundError,
    OptionError,
    SampleError,
    ShapeMismatchError,
    SpratError,
)
from sprat.files import sha256
from sprat.model.inspect import TensorInfo

IMAGE = (TensorInfo("x", "float32", ("n", 3, 8, 8)),)
VECTOR = (TensorInfo("x", "float32", ("n", 4)),)
PLAIN = DataOptions(scale=1.0, mean=(0.0,), std=(1.0,))


def picture(path: Path, seed: int, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = len(Image.new(mode, (1, 1)).getbands())
    shape = (size[1], size[0], bands) if bands > 1 else (size[1], size[0])
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels, mode if mode != "L" else None).save(path)
    return path


def folder(root: Path, splits: tuple[str, ...] = ("",), count: int = 12) -> Path:
    seed = 0
    for split in splits:
        for name in ("cat", "dog"):
            for i in range(count):
                picture(root / split / name / f"{i}.png", seed := seed + 1)
    return root


def opened(source: Any, inputs: Any = IMAGE, options: DataOptions = PLAIN, **more: Any) -> Data:
    return open_data(source, inputs, options=options, **more)


def test_given_splits_are_kept(tmp_path: Path) -> None:
    data = opened(folder(tmp_path, ("train", "valid", "test")))
    assert data.train is not None
    assert data.test is not None
    sizes = [len(s.samples) for s in (data.train, data.val, data.test)]
    assert sizes == [24, 24, 24]
    assert data.classes == ("cat", "dog")
    assert {s.label for s in data.val.samples} == {0, 1}
    assert data.calibration is data.train
    assert data.final is data.test


def test_one_set_is_split_by_content(tmp_path: Path) -> None:
    first = opened(folder(tmp_path / "a"))
    (tmp_path / "b").mkdir()
    folder(tmp_path / "b", count=20)
    second = opened(tmp_path / "b")
    assert first.train is None
    assert first.test is not None
    home = {s.digest for s in first.val.samples}
    moved = home & {s.digest for s in second.final.samples}
    assert not moved
    assert any("by content hash" in n or "half chooses" in n for n in first.notes)


def test_flat_folder_has_no_labels(tmp_path: Path) -> None:
    for i in range(20):
        picture(tmp_path / f"{i}.png", i)
    data = opened(tmp_path)
    assert data.classes == ()
    assert all(s.label is None for s in data.val.samples)


_ROWS = st.lists(st.binary(min_size=1, max_size=8), min_size=1, max_size=60, unique=True)


@given(_ROWS, _ROWS)
def test_adding_samples_moves_none(first: list[bytes], more: list[bytes]) -> None:
    def sample(content: bytes) -> Sample:
        return Sample(content.hex(), sha256(content))

    before, _ = split_rows({"": [sample(c) for c in first]})
    after, _ = split_rows({"": [sample(c) for c in dict.fromkeys([*first, *more])]})
    for name, rows in before.items():
        assert {s.name for s in rows} <= {s.name for s in after.get(name, [])}


@given(_ROWS, st.integers(1, 70), st.integers(1, 70))
def test_a_smaller_limit_is_a_subset(rows: list[bytes], a: int, b: int) -> None:
    samples = [Sample(c.hex(), sha256(c)) for c in rows]
    small, large = (limited(samples, n) for n in sorted((a, b)))
    assert {s.name for s in small} <= {s.name for s in large}
    assert len(small) == min(len(rows), a, b)
    assert [s for s in samples if s in large] == large


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 1000),
    st.tuples(*[st.floats(0.1, 0.9)] * 3),
    st.tuples(*[st.floats(0.1, 0.9)] * 3),
)
def test_preprocessing_is_the_formula(
    tmp_path_factory: pytest.TempPathFactory, seed: int, mean: Any, std: Any
) -> None:
    root = tmp_path_factory.mktemp("p")
    for i in range(16):
        picture(root / f"{i}.png", seed + i)
    data = opened(root, options=DataOptions(scale=1 / 255, mean=mean, std=std))
    for dataset in (data.val, data.final):
        for i, sample in enumerate(dataset.samples):
            assert sample.path is not None
            pixels = np.asarray(Image.open(sample.path)).astype(np.float64)
            wanted = ((pixels / 255 - mean) / std).transpose(2, 0, 1)
            got = dataset.batch([i])["x"][0]
            assert got.dtype == np.float32
            assert np.abs(got - wanted).max() < 1e-5


def test_channels_and_layout(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", 1)
    for i in range(12):
        picture(tmp_path / f"b{i}.png", 2 + i)
    rgb = np.asarray(Image.open(path)).astype(np.float32)

    def read(inputs: Any, **options: Any) -> Any:
        known: dict[str, Any] = {"scale": 1.0, "mean": (0.0,), "std": (1.0,)} | options
        data = opened(tmp_path, inputs, DataOptions(**known))
        for part in (data.val, data.final):
            for i, sample in enumerate(part.samples):
                if sample.name == "a.png":
                    return part.batch([i])["x"][0]
        raise AssertionError("a.png is nowhere")

    assert np.array_equal(read(IMAGE), rgb.transpose(2, 0, 1))
    assert np.array_equal(read(IMAGE, channels="bgr"), rgb[:, :, ::-1].transpose(2, 0, 1))
    last = (TensorInfo("x", "float32", ("n", 8, 8, 3)),)
    assert np.array_equal(read(last), rgb)
    grey = (TensorInfo("x", "float32", ("n", 1, 8, 8)),)
    assert read(grey).shape == (1, 8, 8)
    whole = (TensorInfo("x", "uint8", ("n", 3, 8, 8)),)
    assert read(whole).dtype == np.uint8


@pytest.mark.parametrize("resize", ["stretch", "shortest", "letterbox"])
def test_resizing_gives_the_input_s_size(tmp_path: Path, resize: Any) -> None:
    for i in range(6):
        picture(tmp_path / f"{i}.png", i, size=(20 + i, 11))
    options = PLAIN.model_copy(update={"size": (8, 8), "resize": resize})
    data = opened(tmp_path, options=options)
    assert data.val.batch([0])["x"].shape == (1, 3, 8, 8)


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    for i in range(6):
        image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
        image.putpixel((0, 0), (i, 0, 0, 255))
        image.save(tmp_path / f"{i}.png")
    batch = opened(tmp_path).val.batch([0])["x"]
    assert batch[0, :, 4, 4].tolist() == [255, 255, 255]


def test_batches_cover_the_set_once(tmp_path: Path) -> None:
    data = opened(folder(tmp_path))
    count = len(data.val.samples)
    sizes = [len(b["x"]) for b in batches(data.val, 5)]
    assert sum(sizes) == count
    again = data.val.subset(range(count))
    assert again.digest == data.val.digest
    assert data.val.subset([0]).digest != data.val.digest


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda p: p / "nowhere", DataNotFoundError, "no such data"),
        (lambda p: p, DataNotFoundError, "no image"),
        (lambda p: picture(p / "only" / "a.png", 1).parents[1], DataError, "one class only"),
        (lambda p: picture(p / "a.png", 1), DataNotFoundError, "neither a folder"),
    ],
)
def test_sources_that_are_none(tmp_path: Path, make: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        opened(make(tmp_path))


def test_images_beside_class_folders(tmp_path: Path) -> None:
    folder(tmp_path)
    picture(tmp_path / "stray.png", 999)
    with pytest.raises(DataError, match="beside its class folders"):
        opened(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n truncated"])
def test_an_image_that_is_none(tmp_path: Path, content: bytes) -> None:
    for i in range(6):
        (tmp_path / f"{i}.png").write_bytes(content + bytes([i]))
    data = opened(tmp_path)
    with pytest.raises(SampleError, match="cannot be read as an image"):
        data.val.batch([0])


def test_a_decompression_bomb(tmp_path: Path) -> None:
    for i in range(4):
        image = Image.new("1", (9000, 8000))
        image.putpixel((i, 0), 1)
        image.save(tmp_path / f"{i}.png")
    assert (tmp_path / "0.png").stat().st_size < 200_000
    with pytest.raises(SampleError, match="pixels"):
        opened(tmp_path).val.batch([0])


def test_links_out_of_the_folder_are_passed_over(tmp_path: Path) -> None:
    outside = picture(tmp_path / "outside" / "secret.png", 1)
    inside = tmp_path / "inside"
    for i in range(6):
        picture(inside / f"{i}.png", 10 + i)
    (inside / "link.png").symlink_to(outside)
    data = opened(inside)
    names = {s.name for part in (data.val, data.final) for s in part.samples}
    assert "link.png" not in names


def test_csv(tmp_path: Path) -> None:
    lines = ["path,label,split"]
    for i in range(8):
        picture(tmp_path / "img" / f"{i}.png", i)
        lines.append(f"img/{i}.png,{'ab'[i % 2]},{'val' if i < 4 else 'test'}")
    table = tmp_path / "t.csv"
    table.write_text("\n".join(lines))
    data = opened(table)
    assert data.kind == "csv"
    assert [s.label for s in data.val.samples] == [0, 1, 0, 1]
    table.write_text("img/0.png,a\n../x.png,b\n")
    with pytest.raises(DataError, match="line 2"):
        opened(table)
    table.write_text("img/0.png,a\nimg/99.png,b\n")
    with pytest.raises(DataNotFoundError, match="99"):
        opened(table)


def test_npz(tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    x = np.arange(80, dtype=np.float32).reshape(20, 4)
    np.savez(path, x=x, label=np.arange(20) % 3, split=["val"] * 10 + ["test"] * 10)
    data = opened(path, VECTOR)
    assert data.kind == "npz"
    assert np.array_equal(data.val.batch([0, 1])["x"], x[:2])
    assert data.classes == ("0", "1", "2")
    np.savez(path, wrong=x)
    with pytest.raises(DataError):
        opened(path, VECTOR)
    np.savez(path, x=x[:, :3])
    with pytest.raises(ShapeMismatchError, match="shape"):
        opened(path, VECTOR)
    np.savez(path, x=np.array([{"a": 1}] * 4, dtype=object))
    with pytest.raises(DataError, match=r"\.npz"):
        opened(path, VECTOR)
    path.write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"\.npz"):
        opened(path, VECTOR)


def test_callable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "def data(split):\n"
        "    for i in range(3):\n"
        "        yield {'x': np.full((2, 4), i, np.float32)}, [0, 1]\n"
        "def bad():\n    raise RuntimeError('mine')\n"
    )
    monkeypatch.chdir(tmp_path)
    data = opened("mine:data", VECTOR)
    assert len(data.val.samples) == 6
    assert data.train is not None
    assert data.classes == ("0", "1")
    with pytest.raises(DataError, match="mine"):
        opened("mine:bad", VECTOR)
    with pytest.raises(OptionError, match="cannot be imported"):
        opened("mine:nothing", VECTOR)


def test_class_folders_named_by_output_index(tmp_path: Path) -> None:
    for name in ("3", "7"):
        for i in range(6):
            picture(tmp_path / name / f"{i}.png", int(name) * 100 + i)
    assert {s.label for s in opened(tmp_path, columns=10).val.samples} <= {3, 7}
    assert {s.label for s in opened(tmp_path, columns=2).val.samples} <= {0, 1}


def test_options_from_toml_and_hugging_face(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "size": {"shortest_edge": 256},
                "crop_size": 224,
                "do_center_crop": True,
                "rescale_factor": 0.5,
                "image_mean": [1, 2, 3],
                "image_std": [4, 5, 6],
                "resample": 3,
            }
        )
    )
    found = read_options(model, None)
    assert (found.size, found.crop, found.resize) == ((256, 256), (224, 224), "shortest")
    assert (found.scale, found.mean, found.interpolation) == (0.5, (1, 2, 3), "bicubic")
    (tmp_path / "sprat.toml").write_text('[data]\nmean = [9.0]\n[output]\nkind = "logit"\n')
    found = read_options(model, None, DataOptions(scale=2.0))
    assert (found.mean, found.kind, found.scale) == ((9.0,), "logit", 2.0)


@pytest.mark.parametrize(
    "text", ["[data\n", "[data]\nsize = 'big'\n", "[data]\nsiez = [1, 2]\n", "[dta]\n"]
)
def test_toml_that_is_wrong(tmp_path: Path, text: str) -> None:
    (tmp_path / "sprat.toml").write_text(text)
    with pytest.raises(OptionError) as caught:
        read_options(tmp_path / "model.onnx", None)
    assert isinstance(caught.value, SpratError)
    assert "sprat.toml" in caught.value.where


def test_a_model_that_eats_no_images(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="does not eat images"):
        opened(folder(tmp_path), VECTOR)
