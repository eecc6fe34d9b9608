"""Options from sprat.toml and preprocessor_config.json."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprat.data.huggingface import translate
from sprat.data.options import DataOptions, as_words, read_options
from sprat.data.trust import trust
from sprat.errors import OptionError

MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
IMAGENET = {"image_mean": list(MEAN), "image_std": list(STD)}


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model's place: nothing lies around it."""
    for name in ("model", "data", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "model" / "net.onnx"


def toml(folder: Path, text: str) -> Path:
    path = folder / "sprat.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_any_file_nothing_is_known(model: Path) -> None:
    assert read_options(model, None) == DataOptions()
    assert read_options(None, None) == DataOptions()


def test_a_whole_sprat_toml(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model.parent)  # only there may it name a metric
    toml(
        model.parent,
        """
        [data]
        size = [64, 48]
        resize = "letterbox"
        crop = [56, 40]
        channels = "bgr"
        layout = "nhwc"
        scale = 0.5
        mean = [0.485, 0.456, 0.406]
        std = [0.229, 0.224, 0.225]
        interpolation = "bicubic"
        pad = 114
        labels = "labels.txt"
        [output]
        kind = "classes"
        name = "probabilities"
        threshold = 0.25
        metric = "own.metrics:recall"
        """,
    )
    trust(model.parent / "sprat.toml")
    assert read_options(model, None) == DataOptions(
        size=(64, 48),
        resize="letterbox",
        crop=(56, 40),
        channels="bgr",
        layout="nhwc",
        scale=0.5,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        interpolation="bicubic",
        pad=114,
        labels=str(model.parent / "labels.txt"),
        kind="classes",
        name="probabilities",
        threshold=0.25,
        metric="own.metrics:recall",
    )


def test_the_toml_beside_the_model_goes_first(model: Path, tmp_path: Path) -> None:
    toml(tmp_path / "here", "[data]\nscale = 3")
    assert read_options(model, tmp_path / "data").scale == 3
    toml(tmp_path / "data", "[data]\nscale = 2")
    assert read_options(model, tmp_path / "data").scale == 2
    assert read_options(model, tmp_path / "data" / "list.csv").scale == 2
    toml(model.parent, "[data]\nlabels = ['a', 'b']")
    assert read_options(model, tmp_path / "data") == DataOptions(labels=("a", "b"))


def test_options_go_before_toml_before_hugging_face(model: Path) -> None:
    config = {"size": 224, "crop_size": 200, "do_center_crop": True, "resample": 3, **IMAGENET}
    (model.parent / "preprocessor_config.json").write_text(json.dumps(config))
    toml(model.parent, "[data]\nscale = 1\nresize = 'letterbox'")
    found = read_options(model, None, DataOptions(scale=2, mean=(0.5,)))
    assert found == DataOptions(
        size=(224, 224),
        resize="letterbox",
        crop=(200, 200),
        scale=2,
        mean=(0.5,),
        std=STD,
        interpolation="bicubic",
    )
    assert read_options(model, None, DataOptions(size=(64, 64))).crop is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[data", "is not TOML"),
        ("size = [1, 2]", r"has 'size' where only the tables \[data\] and \[output\] may be"),
        ("data = 3", "has 'data' where only the tables"),
        ("[data]\nsizes = [1, 2]", r"\[data\] has the unknown key 'sizes'; known are size, resize"),
        ("[data]\nkind = 'logit'", r"\[data\] has the unknown key 'kind'"),
        ("[output]\nsize = [1, 2]", r"\[output\] has the unknown key 'size'; known are kind"),
        ("[data]\nresize = 'crop'", "resize: .*'stretch', 'shortest' or 'letterbox'.*got 'crop'"),
        ("[data]\nsize = 64", "size: .*got 64"),
        ("[data]\nsize = [0, 64]", r"size\.0: .*greater than or equal to 1.*got 0"),
        ("[data]\nsize = [64, 99999999]", r"size\.1: .*got 99999999"),
        ("[data]\nscale = nan", "scale: .*finite.*got nan"),
        ("[data]\nstd = [1.0, 0.0, 1.0]", "std: .*none may be 0"),
        ("[data]\nmean = ['x']", r"mean\.0: .*got 'x'"),
        ("[data]\npad = 256", "pad: .*got 256"),
        ("[output]\nkind = 'box'", "kind: .*'vector'.*got 'box'"),
    ],
)
def test_errors_in_toml_name_file_key_got_and_wanted(text: str, message: str, model: Path) -> None:
    path = toml(model.parent, text)
    with pytest.raises(OptionError, match=message) as caught:
        read_options(model, None)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"#" * (2 << 20)])
def test_a_toml_that_is_no_small_text(content: bytes, model: Path) -> None:
    (model.parent / "sprat.toml").write_bytes(content)
    with pytest.raises(OptionError, match=r"sprat\.toml: (cannot be read|is above 1 MB)"):
        read_options(model, None)


def test_a_byte_order_mark_does_no_harm(model: Path) -> None:
    (model.parent / "sprat.toml").write_text("[data]\nscale = 2", encoding="utf-8-sig")
    assert read_options(model, None).scale == 2


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        # Vision transformers: height and width.
        (
            {"size": {"height": 224, "width": 192}, "resample": 2, **IMAGENET},
            {"size": (224, 192), "resize": "stretch", "interpolation": "bilinear"},
        ),
        # CLIP: the shortest edge, then a crop.
        (
            {
                "size": {"shortest_edge": 224},
                "do_center_crop": True,
                "crop_size": {"height": 224, "width": 224},
                "rescale_factor": 0.5,
                **IMAGENET,
            },
            {"size": (224, 224), "resize": "shortest", "crop": (224, 224), "scale": 0.5},
        ),
        # Older files: lone numbers.
        ({"size": 384, **IMAGENET}, {"size": (384, 384), "resize": "stretch"}),
        (
            {"size": 256, "crop_size": 224, "do_center_crop": True, **IMAGENET},
            {"size": (256, 256), "resize": "shortest", "crop": (224, 224)},
        ),
        # ConvNeXt: a share instead of a crop, from 384 on neither.
        (
            {"size": {"shortest_edge": 224}, "crop_pct": 0.875, **IMAGENET},
            {"size": (256, 256), "resize": "shortest", "crop": (224, 224)},
        ),
        (
            {"size": {"shortest_edge": 384}, "crop_pct": 0.875, **IMAGENET},
            {"size": (384, 384), "resize": "stretch"},
        ),
        # MobileViT: blue first, no mean.
        (
            {"do_flip_channel_order": True, "do_normalize": False, "do_resize": False, **IMAGENET},
            {"channels": "bgr", "mean": None, "std": None},
        ),
        ({"do_rescale": False, "do_resize": False, **IMAGENET}, {"scale": 1.0}),
        # Sound: nothing about images, so nothing but the harmless default.
        (
            {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16000},
            {"mean": None, "std": None},
        ),
    ],
)
def test_hugging_faces_words(config: dict[str, Any], wanted: dict[str, Any], model: Path) -> None:
    (model.parent / "preprocessor_config.json").write_text(json.dumps(config))
    expected: dict[str, Any] = {"scale": 1 / 255, "mean": MEAN, "std": STD} | wanted
    assert read_options(model, None) == DataOptions(**expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "holds list, must hold an object"),
        ("[" * 100_000, "is not JSON"),
        ('{"image_mean": "x"}', "mean: .*got 'x'"),
        ('{"size": {"height": -1, "width": 3}}', r"size\.0: .*got -1"),
    ],
)
def test_errors_in_json_name_the_file(text: str, message: str, model: Path) -> None:
    (model.parent / "preprocessor_config.json").write_text(text)
    with pytest.raises(OptionError, match=rf"preprocessor_config\.json: {message}"):
        read_options(model, None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
KEYS = st.sampled_from(
    [
        *("size", "crop_size", "crop_pct", "do_center_crop", "do_resize", "do_rescale"),
        *("rescale_factor", "do_normalize", "image_mean", "image_std", "resample"),
    ]
)


@given(st.dictionaries(KEYS, JSON | st.dictionaries(KEYS, JSON)))
def test_any_json_object_is_translated(config: dict[str, Any]) -> None:
    assert set(translate(config)) <= set(DataOptions.model_fields)


def test_options_as_words_of_a_command_line() -> None:
    options = DataOptions(
        size=(8, 9), mean=(0.485, 0.1), kind="classes", name="o", threshold=0.25, metric="m:f"
    )
    words = "--size 8x9 --mean 0.485,0.1 --output-kind classes --output o --threshold 0.25"
    assert as_words(options) == [*words.split(), "--metric", "m:f"]
    assert as_words(DataOptions(pad=3, labels=("a", "b"))) == []  # no command line has them


def test_a_stranger_s_folder_may_not_name_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sprat.toml").write_text('[output]\nmetric = "evil:run"\n')
    with pytest.raises(OptionError, match="is code"):
        read_options(tmp_path / "model.onnx", None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError, match="is not trusted"):
        read_options(tmp_path / "model.onnx", None)
    trust(tmp_path / "sprat.toml")
    assert read_options(tmp_path / "model.onnx", None).metric == "evil:run"
