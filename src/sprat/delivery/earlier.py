"""Which files of a folder a bundle's manifest shows to be Sprat's, where no record says so.

Versions before ``.sprat.json`` left a manifest alone. It names each chunk and each file of the
runtime with the hash of its decoded bytes; the compressed files beside them are known by what they
decode to. Page, loader and licences have no hash there, and stay unknown.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import brotli

from sprat.delivery.manifest import FileEntry, Manifest
from sprat.files import read_plain, sha256

_MANIFEST = "manifest.json"
#: How :func:`sprat.delivery.pieces.piece` names a file: with 16 digits of its hash.
_NAME = re.compile(r"(?:assets|runtime)/[^/]+\.([0-9a-f]{16})\.[a-z]+")


def earlier_files(folder: Path, manifest: Manifest) -> dict[str, str]:
    """Return the files of an earlier bundle that are still as it wrote them.

    Args:
        folder: Of the bundle.
        manifest: What was read there.

    Returns:
        SHA-256 of the stored bytes by name, relative to the folder.
    """
    text = _read(folder / _MANIFEST)
    found = {}
    if text is not None:
        found = _as_stored(folder, _MANIFEST, sha256(text), len(text), _ways(packed=False))
    for entry in _entries(manifest):
        match = _NAME.fullmatch(entry.path)
        if match and entry.sha256.startswith(match[1]):
            ways = _ways(entry.packed)
            found |= _as_stored(folder, entry.path, entry.sha256, entry.bytes, ways)
    return found


def _entries(manifest: Manifest) -> Iterator[FileEntry]:
    for runtime in (manifest.runtime, *(model.runtime for model in manifest.models)):
        if runtime is not None:
            yield from (runtime.module, runtime.glue, runtime.wasm)
    for model in manifest.models:
        yield from model.chunks


_Decode = Callable[[bytes, int], bytes]


def _as_stored(
    folder: Path, name: str, digest: str, size: int, ways: Mapping[str, _Decode]
) -> dict[str, str]:
    """Return the hashes of a file and its compressed forms, of those that decode to ``digest``."""
    found = {}
    for ending, decode in ways.items():
        stored = _read(folder / f"{name}{ending}")
        if stored is not None and sha256(decode(stored, size + 1)) == digest:
            found[f"{name}{ending}"] = sha256(stored)
    return found


def _read(path: Path) -> bytes | None:
    try:
        return read_plain(path)
    except (OSError, ValueError):
        return None


def _ways(packed: bool) -> dict[str, _Decode]:
    """Return how each form of a file is decoded, by the ending that its name has."""
    if packed:
        return {"": _gunzip}
    return {"": lambda content, _: content, ".br": _unbrotli, ".gz": _gunzip}


def _gunzip(content: bytes, most: int) -> bytes:
    """Return at most so many decoded bytes; none of what is not gzip."""
    try:
        return zlib.decompressobj(31).decompress(content, most)
    except zlib.error:
        return b""


def _unbrotli(content: bytes, most: int) -> bytes:
    """Return about as many decoded bytes as asked for at most; none of what is not brotli."""
    try:
        unpacker = brotli.Decompressor()
        found = bytearray(unpacker.process(content, output_buffer_limit=most))
        while len(found) < most and not unpacker.is_finished():
            more = unpacker.process(b"", output_buffer_limit=most - len(found))
            if not more:
                break
            found += more
    except brotli.error:
        return b""
    return bytes(found)
