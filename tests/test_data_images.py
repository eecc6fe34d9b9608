"""From image files to the model's input."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from sprat.data import images
from sprat.data.guess import make_preprocess
from sprat.data.images import image_size, open_image
from sprat.data.options import DataOptions
from sprat.data.preprocess import Preprocess, resized
from sprat.errors import OptionError, SampleError
from sprat.model.inspect import TensorInfo

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def how(**changes: object) -> Preprocess:
    fields: dict[str, object] = {
        "input": "x",
        "size": (8, 6),
        "resize": "stretch",
        "crop": None,
        "channels": "rgb",
        "layout": "nchw",
        "scale": 1 / 255,
        "mean": MEAN,
        "std": STD,
    }
    return Preprocess(**{**fields, **changes})  # type: ignore[arg-type]


def image_input(*shape: int | str, dtype: str = "float32") -> TensorInfo:
    return TensorInfo("x", dtype, shape)


def save(path: Path, size: tuple[int, int] = (6, 8), mode: str = "RGB", **kind: Any) -> Path:
    """Save an image of ``size`` (width, height) with a different value at each pixel."""
    width, height = size
    depth = len(Image.new(mode, (1, 1)).getbands())
    values = np.arange(width * height * depth) * 7 % 256
    array = values.astype(np.uint8).reshape(height, width, depth)
    Image.fromarray(array[:, :, 0] if depth == 1 else array).save(path, **kind)
    return path


@given(
    hnp.arrays(np.uint8, (2, 5, 4, 3)),
    st.floats(0.001, 2),
    st.tuples(*[st.floats(-1, 1)] * 3),
    st.tuples(*[st.floats(0.05, 2)] * 3),
    st.sampled_from(["rgb", "bgr"]),
    st.sampled_from(["nchw", "nhwc"]),
)
def test_normalizing_equals_a_float64_reference(
    pixels: NDArray[np.uint8],
    scale: float,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    channels: str,
    layout: str,
) -> None:
    preprocess = how(scale=scale, mean=mean, std=std, channels=channels, layout=layout)
    found = preprocess.normalize(list(pixels))
    ordered = pixels[..., ::-1] if channels == "bgr" else pixels
    wanted = (ordered.astype(np.float64) * scale - mean) / std
    if layout == "nchw":
        wanted = wanted.transpose(0, 3, 1, 2)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    bound = 1e-6 * (1 + 255 * scale + np.max(np.abs(mean))) / min(std)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=bound)


def test_normalizing_is_float32_arithmetic_to_the_bit() -> None:
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    scaled = pixels.astype(np.float32) * np.float32(1 / 255)
    wanted = (scaled - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    assert np.array_equal(how().normalize(list(pixels)), wanted.transpose(0, 3, 1, 2))


def test_grey_images_fill_all_channels() -> None:
    grey = np.arange(48, dtype=np.uint8).reshape(8, 6, 1)
    assert np.array_equal(how().normalize([grey]), how().normalize([grey.repeat(3, axis=2)]))


@pytest.mark.parametrize("dtype", ["float16", "float64", "uint8"])
def test_the_type_is_that_of_the_input(dtype: str, tmp_path: Path) -> None:
    pixels = how(dtype=dtype).pixels(save(tmp_path / "a.png"))
    found = how(dtype=dtype).normalize([pixels])
    assert found.dtype == dtype
    if dtype == "uint8":
        assert np.array_equal(found[0].transpose(1, 2, 0), pixels)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("resize", ["stretch", "shortest", "letterbox"])
def test_an_image_of_the_right_size_is_not_resampled(
    mode: str, resize: str, tmp_path: Path
) -> None:
    path = save(tmp_path / "a.png", mode=mode)
    found = how(resize=resize, interpolation="bicubic").pixels(path)
    assert np.array_equal(found.squeeze(), np.asarray(Image.open(path)))


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(1, 40))
def test_letterbox_keeps_the_aspect_and_pads_evenly(
    width: int, height: int, to_height: int, to_width: int
) -> None:
    black = Image.new("L", (width, height), 0)
    box = how(size=(to_height, to_width), resize="letterbox", pad=200)
    array = np.asarray(resized(black, box))
    assert array.shape == (to_height, to_width)
    rows, columns = np.flatnonzero((array == 0).any(1)), np.flatnonzero((array == 0).any(0))
    inner = np.array([len(rows), len(columns)])
    factor = min(to_width / width, to_height / height)
    assert np.all(np.abs(inner - np.maximum(1, np.array([height, width]) * factor)) <= 0.5 + 1e-9)
    for found, side in ((rows, to_height), (columns, to_width)):
        assert abs((found[0]) - (side - 1 - found[-1])) <= 1


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(1, 40))
def test_shortest_covers_without_padding(
    width: int, height: int, to_height: int, to_width: int
) -> None:
    white = Image.new("RGB", (width, height), "white")
    array = np.asarray(resized(white, how(size=(to_height, to_width), resize="shortest")))
    assert array.shape == (to_height, to_width, 3)
    assert array.min() == 255


def test_the_crop_is_central(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", (10, 10))
    found = how(size=(10, 10), crop=(4, 6)).pixels(path)
    assert np.array_equal(found, np.asarray(Image.open(path))[3:7, 2:8])


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (6, 8), (10, 20, 30, 0)).save(tmp_path / "a.png")
    Image.new("RGBA", (6, 8), (10, 20, 30, 255)).save(tmp_path / "b.png")
    Image.new("LA", (6, 8), (0, 0)).save(tmp_path / "c.png")
    assert how().pixels(tmp_path / "a.png").min() == 255
    assert how().pixels(tmp_path / "b.png")[0, 0].tolist() == [10, 20, 30]
    assert how().pixels(tmp_path / "c.png").min() == 255


def test_the_cameras_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.png", (6, 8), exif=exif)
    turned = np.asarray(open_image(path))
    assert np.array_equal(turned, np.rot90(np.asarray(Image.open(path)), 3))
    assert image_size(path) == turned.shape[:2] == (6, 8)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "bmp", "tiff"])
def test_common_formats_are_read(suffix: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"a.{suffix}")
    assert how().pixels(path).shape in {(8, 6, 3), (8, 6, 1)}
    assert image_size(path) == (8, 6)


def test_the_first_frame_of_an_animation_counts(tmp_path: Path) -> None:
    frames = [Image.new("L", (6, 8), value) for value in (40, 90, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert np.unique(how().pixels(tmp_path / "a.gif")).tolist() == [40]


def test_sixteen_bit_grey_keeps_its_upper_bits(tmp_path: Path) -> None:
    wide = np.arange(48, dtype=np.uint16).reshape(8, 6) * 1365
    Image.fromarray(wide).save(tmp_path / "a.png")
    assert np.array_equal(how().pixels(tmp_path / "a.png")[:, :, 0], wide >> 8)


def _html(path: Path) -> None:
    path.write_text("<html>404</html>")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _truncated(path: Path) -> None:
    whole = save(path, (200, 200)).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def _postscript(path: Path) -> None:
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n")


def _floats(path: Path) -> None:
    Image.new("F", (6, 8), 0.5).save(path, format="TIFF")


def _missing(path: Path) -> None:
    path.unlink(missing_ok=True)


@pytest.mark.parametrize("make", [_html, _empty, _truncated, _postscript, _floats, _missing])
def test_what_is_no_image_is_one_error_that_names_the_file(make: object, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    make(path)  # type: ignore[operator]
    with pytest.raises(SampleError) as caught:
        how().pixels(path)
    assert caught.value.where == str(path)


@given(position=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_damaged_image_is_read_or_refused(
    position: int, value: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.png"
    content = bytearray(save(path, (40, 40)).read_bytes())
    content[position % len(content)] = value
    path.write_bytes(content)
    try:
        assert how().pixels(path).shape == (8, 6, 3)
    except SampleError as error:
        assert error.where == str(path)


def test_image_bombs_are_refused_before_they_unpack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.png", (30, 20))
    monkeypatch.setattr(images, "MAX_PIXELS", 599)
    with pytest.raises(SampleError, match=r"a\.png: has 30 x 20 pixels; at most 599"):
        open_image(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(SampleError, match="too many pixels"):
        open_image(path)


def test_a_hair_thin_image_is_not_blown_up(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", (40_000, 1), mode="L")
    with pytest.raises(SampleError, match=r"a\.png: is too long and thin, 40000 x 1"):
        how(size=(224, 224), resize="shortest").pixels(path)
    assert how(size=(224, 224), resize="letterbox").pixels(path).shape == (224, 224, 1)


def test_reading_leaves_the_warning_filters_alone(tmp_path: Path) -> None:
    before = list(warnings.filters)
    open_image(save(tmp_path / "a.png"))
    assert warnings.filters == before


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        (("n", 3, 8, 6), ("nchw", "rgb", (8, 6), MEAN)),
        ((1, 8, 6, 3), ("nhwc", "rgb", (8, 6), MEAN)),
        (("n", 1, 8, 6), ("nchw", "gray", (8, 6), (0.0,))),
        (("n", 8, 6, 1), ("nhwc", "gray", (8, 6), (0.0,))),
    ],
)
def test_the_preprocessing_is_guessed_aloud(
    shape: tuple[int | str, ...], wanted: tuple[object, ...], tmp_path: Path
) -> None:
    found, notes = make_preprocess([image_input(*shape)], DataOptions(), [tmp_path / "unread.png"])
    assert (found.layout, found.channels, found.size, found.mean) == wanted
    assert found.resize == "shortest"
    said = " ".join(notes)
    assert all(option in said for option in ("--layout", "--channels", "--resize", "--mean"))


def test_with_everything_said_nothing_is_guessed(tmp_path: Path) -> None:
    options = DataOptions(
        size=(8, 6), resize="letterbox", channels="bgr", layout="nchw", scale=1.0, pad=114
    )
    found, notes = make_preprocess([image_input("n", 3, 8, 6)], options, [tmp_path / "unread.png"])
    assert found == how(
        resize="letterbox", channels="bgr", scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3, pad=114
    )
    assert notes == ("the preprocessing is as the options say; nothing was guessed",)


def test_a_larger_size_is_cut_to_the_input(tmp_path: Path) -> None:
    options = DataOptions(size=(10, 12))
    found, notes = make_preprocess([image_input("n", 3, 8, 6)], options, [tmp_path / "unread.png"])
    assert (found.size, found.crop) == ((10, 12), (8, 6))
    assert "--crop" in " ".join(notes)


def test_a_dynamic_size_is_taken_from_images_that_agree(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{i}.png", (6, 8)) for i in range(3)]
    found, notes = make_preprocess([image_input("n", 3, "h", "w")], DataOptions(), paths)
    assert found.size == (8, 6)
    assert "all images have 8 x 6 pixels" in " ".join(notes)
    paths.append(save(tmp_path / "other.png", (9, 9)))
    with pytest.raises(OptionError, match=r"--size.*dynamic.*other\.png.*--size 224x224"):
        make_preprocess([image_input("n", 3, "h", "w")], DataOptions(), paths)


def test_uint8_inputs_take_pixels_as_they_are(tmp_path: Path) -> None:
    tensor = image_input(1, 8, 6, 3, dtype="uint8")
    found, notes = make_preprocess([tensor], DataOptions(mean=MEAN), [tmp_path / "unread.png"])
    assert found.scale == 1.0
    assert "do not apply" in " ".join(notes)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        (("n", 40), {}, "does not eat images"),
        (("n", 4, 8, 6), {}, "wants 4 channels, rgb has 3"),
        (("n", 3, 8, 6), {"channels": "gray"}, "wants 3 channels, gray has 1"),
        (("n", 3, 8, 6), {"size": (4, 4)}, "images become 4 x 4, input 'x' wants 8 x 6"),
        (("n", 3, 8, 6), {"size": (8, 6), "crop": (9, 6)}, "larger than the size 8 x 6"),
        (("n", 3, 48, "w"), {"size": (32, 320)}, "images become 32 x 320, input 'x' wants 48 x w"),
        (("n", 3, 8, 6), {"mean": (0.5, 0.5)}, "has 2 values; the input has 3 channels"),
    ],
)
def test_options_that_do_not_fit_the_input_are_errors(
    shape: tuple[int | str, ...], options: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=message):
        make_preprocess(
            [image_input(*shape)],
            DataOptions(**options),  # type: ignore[arg-type]
            [tmp_path / "unread.png"],
        )


def test_two_inputs_are_no_image_model(tmp_path: Path) -> None:
    inputs = [image_input("n", 3, 8, 6), image_input("n", 3, 8, 6)]
    with pytest.raises(OptionError, match="does not eat images"):
        make_preprocess(inputs, DataOptions(), [tmp_path / "unread.png"])
