"""Bytes of files of many types, for Magika's file-type model.

Files of known suffixes are taken from Python's own folders and its packages, at most so many of
each, so that the pinned set-up gives the same samples whatever the project looks like. Kinds that
are rare there are made from them: archives, images, sounds, databases.
Features as Magika's feature extraction v2 defines them: the first 1,024 bytes after leading white
space and the last 1,024 before trailing white space, 256 for padding.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import pickle
import sqlite3
import sysconfig
import tarfile
import wave
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sprat.data.splits import position

SAMPLES = 1200
INPUT = "bytes"
_PART = 1024
_BLOCK = 4096
_PADDING = 256
_PER_SUFFIX = 75
_PER_MADE = 14
#: Shorter files are of no clear type, longer ones cost time and show no more.
_MIN_BYTES, _MAX_BYTES = 256, 8_000_000
_SUFFIXES = (
    ".bat .c .cc .cfg .cpp .css .csv .exe .f .f90 .gif .gz .h .hpp .html .ini .ipynb .jpg .js "
    ".json .md .npy .npz .onnx .pdf .pem .png .proto .py .pyi .pyx .rst .sh .so .svg .tcl .toml "
    ".ttf .txt .wav .whl .xml .xsl .yaml .yml .zip"
)
_TOML = """# Magika answers with one score per type.
[output]
kind = "classes"
"""
#: Upper ends of the shares of the splits, by content hash.
_SHARES = {"train": 0.25, "val": 0.625, "test": 1.0}
#: Compiled files come and go with use.
_SKIPPED = {"__pycache__"}


def make_magika(folder: Path) -> Path:
    """Write ready tensors for Magika's model.

    Args:
        folder: Gets ``train.npz``, ``val.npz`` and ``test.npz``, each with ``bytes``, int32
            ``[N, 2048]``, and ``sprat.toml``; the split is by a hash of the features.

    Returns:
        ``folder``.
    """
    rows: dict[str, NDArray[np.int32]] = {}
    for content in _contents():
        row = features(content)
        rows.setdefault(hashlib.sha256(row.tobytes()).hexdigest(), row)
    kept = sorted(rows)[:SAMPLES]
    folder.mkdir(parents=True, exist_ok=True)
    low = 0.0
    for split, high in _SHARES.items():
        part = [rows[digest] for digest in kept if low <= _place(digest) < high]
        np.savez_compressed(folder / f"{split}.npz", bytes=np.stack(part))
        low = high
    (folder / "sprat.toml").write_text(_TOML, encoding="utf-8")
    return folder


def features(content: bytes) -> NDArray[np.int32]:
    """Return what Magika's model sees of a file.

    Args:
        content: The whole file.

    Returns:
        int32 ``[2048]``: the beginning padded behind, then the end padded in front.
    """
    head = content[:_BLOCK].lstrip()[:_PART]
    tail = content[-_BLOCK:].rstrip()[-_PART:]
    row = np.full(2 * _PART, _PADDING, np.int32)
    row[: len(head)] = np.frombuffer(head, np.uint8)
    row[2 * _PART - len(tail) :] = np.frombuffer(tail, np.uint8)
    return row


def _place(digest: str) -> float:
    return position(hashlib.sha256(digest.encode()).hexdigest())


def _contents() -> Iterator[bytes]:
    """Yield the contents of found files and of made ones."""
    texts: list[bytes] = []
    for path in _chosen_files():
        content = path.read_bytes()
        if path.suffix in (".py", ".txt", ".md", ".json") and len(content) > _BLOCK:
            texts.append(content)
        yield content
    for number, text in enumerate(texts[:_PER_MADE]):
        for make in _MAKERS:
            yield make(text, number)


def _chosen_files() -> list[Path]:
    """Return at most so many files of each suffix, in the order of a hash of their place."""
    paths = sysconfig.get_paths()
    roots = {Path(paths[key]) for key in ("stdlib", "purelib", "include")}
    known = set(_SUFFIXES.split())
    found: dict[str, Path] = {}
    for root in sorted(roots):
        for path in root.rglob("*"):
            name = path.relative_to(root)
            wanted = path.suffix in known and not _SKIPPED.intersection(name.parts)
            if wanted and path.is_file():
                found.setdefault(hashlib.sha256(name.as_posix().encode()).hexdigest(), path)
    taken: Counter[str] = Counter()
    chosen = []
    for _, path in sorted(found.items()):
        fits = _MIN_BYTES <= path.stat().st_size <= _MAX_BYTES
        if fits and taken[path.suffix] < _PER_SUFFIX:
            taken[path.suffix] += 1
            chosen.append(path)
    return chosen


def _zip(text: bytes, number: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(f"part-{number}.txt"), text)
    return out.getvalue()


def _tar(text: bytes, number: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        entry = tarfile.TarInfo(f"part-{number}.txt")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
    return out.getvalue()


def _wav(text: bytes, number: int) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setparams((1, 2, 8000 + number, 0, "NONE", ""))
        sound.writeframes(text[: len(text) // 2 * 2])
    return out.getvalue()


def _sqlite(text: bytes, number: int) -> bytes:
    connection = sqlite3.connect(":memory:")
    connection.execute(f"create table notes_{number} (line text)")
    rows = [(line.decode(errors="replace"),) for line in text.splitlines()]
    connection.executemany(f"insert into notes_{number} values (?)", rows)
    connection.commit()
    content = connection.serialize()
    connection.close()
    return content


def _csv(text: bytes, number: int) -> bytes:
    rng = np.random.default_rng(number)
    names = sorted({word for word in text.decode(errors="replace").split() if word.isalpha()})
    lines = [f"{name},{rng.integers(1000)},{rng.random():.3f}" for name in names]
    return "\n".join(["name,count,share", *lines]).encode()


def _npy(text: bytes, number: int) -> bytes:
    out = io.BytesIO()
    np.save(out, np.frombuffer(text, np.uint8)[number:].astype(np.float32))
    return out.getvalue()


def _image(kind: str) -> Callable[[bytes, int], bytes]:
    def make(text: bytes, number: int) -> bytes:
        side = 40 + number
        grey = np.resize(np.frombuffer(text, np.uint8), (side, side))
        out = io.BytesIO()
        Image.fromarray(grey).convert("RGB").save(out, kind)
        return out.getvalue()

    return make


_MAKERS: tuple[Callable[[bytes, int], bytes], ...] = (
    lambda text, _: gzip.compress(text, mtime=0),
    lambda text, _: bz2.compress(text),
    lambda text, _: lzma.compress(text),
    lambda text, _: pickle.dumps(text.split()[:400], protocol=4),
    _zip,
    _tar,
    _wav,
    _sqlite,
    _csv,
    _npy,
    *(_image(kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "ICO")),
)
