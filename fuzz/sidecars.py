"""``python -m fuzz.sidecars``: hostile files beside a model, and what reading them may do.

The law: a result or one error of ours, within :data:`LONGEST` seconds, and no file outside the
folder is opened.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.hostile import TEXTS
from sprat.data.labels import listed_classes
from sprat.data.options import read_options, read_table
from sprat.data.sources import open_data
from sprat.errors import SpratError
from sprat.model.inspect import TensorInfo

#: Seconds for one folder.
LONGEST = 10
#: Characters of an error.
_LONGEST_TEXT = 1300
_SECRET = "secret-of-the-machine"
_INPUTS = [TensorInfo("x", "float32", ("n", 4))]
_PATHS = (
    *(
        "../secret.txt",
        "link.txt",
        "/etc/passwd",
        "pipe",
        ".",
        "",
        "names.txt",
        "a/../../secret.txt",
    ),
    *("outside/secret.txt", "/dev/zero", "/proc/self/environ", "x" * 5000, "a\0b", "loop"),
)
_NUMBERS: tuple[Any, ...] = (0, -1, 1, 3, 224, 16384, 10**6, 2**63 - 1, 1e308, -0.0, float("nan"))
#: Keys by table, with a value that is plausible.
_KEYS: dict[str, dict[str, Any]] = {
    "data": {
        **{"size": [8, 8], "crop": [4, 4], "mean": [0.5], "std": [0.25], "scale": 0.5, "pad": 3},
        **{"resize": "stretch", "channels": "gray", "layout": "nchw", "labels": "names.txt"},
    },
    "output": {"kind": "classes", "name": "y", "threshold": 0.5, "metric": "evil:run"},
    "tune": {"student": "evil:net", "study": "sqlite:///../x", "out": "..", "trials": 1},
    "own": {"x": 1},
}
_WORDS = ("nchw", "rgb", "stretch", "classes", "os:system", "evil:run", "bilinear", *TEXTS, *_PATHS)


def build(folder: Path, seed: int, index: int) -> Path:
    """Write a hostile folder, and return the data in it.

    Args:
        folder: Empty; files outside the stranger's part of it are not to be read.
        seed: Of the campaign.
        index: Of the folder.
    """
    rng = random.Random(f"{seed}-{index}")
    (folder / "secret.txt").write_text(f"{_SECRET}\nother\n")
    place = folder / "theirs"
    place.mkdir()
    (place / "link.txt").symlink_to(folder / "secret.txt")
    (place / "outside").symlink_to(folder)
    (place / "loop").symlink_to("loop")
    os.mkfifo(place / "pipe")
    (place / "names.txt").write_bytes(_damaged(rng, b"cat\ndog\n"))
    (place / "sprat.toml").write_bytes(_toml(rng))
    if rng.random() < 0.5:
        config = {rng.choice(_HUGGING_FACE): _value(rng) for _ in range(rng.randrange(6))}
        text = json.dumps(config) if rng.random() < 0.9 else "[" * rng.choice((10, 5000, 100_000))
        (place / "preprocessor_config.json").write_bytes(_damaged(rng, text.encode()))
    return _samples(rng, place)


_HUGGING_FACE = (
    *("size", "crop_size", "do_resize", "do_center_crop", "do_normalize", "resample", "image_mean"),
    *("image_std", "rescale_factor", "image_processor_type", "do_rescale"),
)


def _value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(4 if depth < 3 else 2)
    if kind == 0:
        return rng.choice(_NUMBERS)
    if kind == 1:
        return rng.choice(_WORDS)
    if kind == 2:
        return [_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(("height", "width", "shortest_edge", "x")): _value(rng, depth + 1)}


def _toml(rng: random.Random) -> bytes:
    if rng.random() < 0.05:
        return b"[data]\nmean = " + b"[" * rng.choice((50, 5000, 100_000))
    lines = []
    for drawn in rng.sample(("data", "data", "output", "tune"), rng.randrange(1, 3)):
        table = "own" if rng.random() < 0.03 else drawn
        if f"[{table}]" in lines:
            continue
        lines.append(f"[{table}]")
        for key, usual in rng.sample(
            sorted(_KEYS[table].items()), rng.randrange(len(_KEYS[table]))
        ):
            value = usual if rng.random() < 0.8 else _value(rng, 2)
            value = rng.choice(_PATHS) if key == "labels" and rng.random() < 0.7 else value
            if not (key == "metric" and rng.random() < 0.7):
                lines.append(f"{key} = {json.dumps(value)}")
    return _damaged(rng, "\n".join(lines).encode("utf-8", "surrogatepass"))


def _damaged(rng: random.Random, content: bytes) -> bytes:
    if rng.random() < 0.9 or not content:
        return content
    changed = bytearray(content)
    for _ in range(rng.randrange(1, 4)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed * rng.choice((1, 1, 1000)))


def _samples(rng: random.Random, place: Path) -> Path:
    path = place / "data.npz"
    arrays: dict[str, Any] = {"x": np.zeros((rng.choice((0, 1, 12)), 4), np.float32)}
    if rng.random() < 0.5:
        arrays["label"] = np.array([rng.choice(TEXTS) for _ in range(12)])
    np.savez(path, allow_pickle=False, **arrays)
    kind = rng.random()
    if kind < 0.2:
        path.write_bytes(_damaged(rng, path.read_bytes()))
    elif kind < 0.3:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x.npy", bytes(rng.choice((0, 10, 10_000_000))))
            archive.writestr(rng.choice(("../x.npy", "label.npy")), b"\x93NUMPY")
    return path


def judge(folder: Path, seed: int, index: int) -> str:
    """Read a hostile folder; return ``result``, an error's name, or ``FAILED: …``."""
    data = build(folder, seed, index)
    place, opened = data.parent, _Opened(data.parent)
    try:
        with contextlib.chdir(place), _bounded(), opened:
            options = read_options(place / "model.onnx", data)
            classes = listed_classes(options)
            read_table(place / "sprat.toml", "tune")
            classes += open_data(data, _INPUTS, options=options).classes
            end = "result" if _SECRET not in str(classes) else "FAILED: the secret was read"
    except SpratError as error:
        clear = str(error).isprintable() and len(str(error)) <= _LONGEST_TEXT
        told = _SECRET in str(error)
        end = type(error).__name__ if clear and not told else f"FAILED: {str(error)[:200]!r}"
    except BaseException as error:  # what the campaign looks for
        end = f"FAILED: {type(error).__name__}: {str(error)[:200]}"
    return f"FAILED: opened {opened.outside}" if opened.outside else end


class _Opened:
    """Notes which files outside a folder are opened while inside."""

    _current: _Opened | None = None
    _hooked = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self.outside: list[str] = []

    def __enter__(self) -> None:
        if not _Opened._hooked:
            sys.addaudithook(_note)
            _Opened._hooked = True
        _Opened._current = self

    def __exit__(self, *_: object) -> None:
        _Opened._current = None

    def note(self, path: str) -> None:
        """Note one opening; this Python's own files do not count."""
        place = os.path.realpath(path)
        own = (sys.prefix, sys.base_prefix, str(Path(__file__).parents[1] / "src"), "/usr/lib")
        state = os.path.basename(place) == "trusted.json"  # noqa: PTH119
        if not place.startswith((str(self._folder), *own)) and not state:
            self.outside.append(place)


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    current = _Opened._current
    if current is not None and event == "open" and isinstance(arguments[0], str):
        current.note(arguments[0])


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError(f"over {LONGEST} s")

    before: Callable[..., Any] | int | None = signal.signal(signal.SIGALRM, late)
    signal.alarm(LONGEST)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def campaign(count: int, seed: int, first: int = 0) -> tuple[Counter[str], dict[int, str]]:
    """Try folders ``first`` to ``first + count``; return the ends, and what failed by index."""
    ends: Counter[str] = Counter()
    failures = {}
    for index in range(first, first + count):
        with tempfile.TemporaryDirectory(prefix="sprat-fuzz-") as folder:
            end = judge(Path(folder), seed, index)
        ends[end.partition(":")[0]] += 1
        if end.startswith("FAILED"):
            failures[index] = end
    return ends, failures


def main() -> int:
    """Return 0 where every folder ended well."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.sidecars", description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    ends, failures = campaign(options.count, options.seed, options.first)
    for end, times in sorted(ends.items()):
        print(f"{end:24} {times:8,}")
    for index, wrong in failures.items():
        print(f"FAILED on folder {index}: {wrong}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
