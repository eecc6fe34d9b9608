"""Cut, hash and compress what goes into a bundle."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import PurePosixPath

import brotli

from sprat.delivery.manifest import Decode, FileEntry
from sprat.files import sha256

#: Cuts lie at multiples of this, so that a change of one weight moves no other chunk.
_GRAIN = 64 << 10


@dataclass(frozen=True)
class Piece:
    """One file of a bundle.

    Attributes:
        entry: Its line in the manifest.
        content: What is stored under its name.
        siblings: What is stored beside it, by the ending that is added: ``.br``, ``.gz``.
    """

    entry: FileEntry
    content: bytes
    siblings: dict[str, bytes]


def piece(
    stem: str,
    suffix: str,
    content: bytes,
    decode: Decode,
    *,
    opaque: bool = True,
    small: bytes | None = None,
) -> Piece:
    """Hash and compress one file.

    Args:
        stem: What its name begins with, such as ``assets/model``.
        suffix: What its name ends with, such as ``.bin``.
        content: Decoded bytes.
        decode: How the page gets at them.
        opaque: The page reads the bytes itself; scripts are read by the browser instead.
        small: ``content`` after brotli, where that is known already.

    Returns:
        The piece; its name holds the first 16 digits of the hash.
    """
    digest = sha256(content)
    path = f"{stem}.{digest[:16]}{suffix}"
    gzipped = gzip(content)
    if decode == "gzip" and opaque:
        entry = FileEntry(
            path=path,
            bytes=len(content),
            sha256=digest,
            encoded={"gzip": len(gzipped)},
            packed=True,
        )
        return Piece(entry, gzipped, {})
    if small is None:
        small = brotli.compress(content, quality=11, lgwin=22)
    encoded = {"br": len(small), "gzip": len(gzipped)}
    entry = FileEntry(path=path, bytes=len(content), sha256=digest, encoded=encoded)
    return Piece(entry, content, {".br": small, ".gz": gzipped})


def gzip(content: bytes) -> bytes:
    """Compress at gzip's level 9, the same bytes each time."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(content) + packer.flush()


def chunks(content: bytes, target: int) -> list[bytes]:
    """Cut a file so that each part is about ``target`` bytes on the wire.

    Args:
        content: The whole file.
        target: Bytes after brotli.

    Returns:
        The parts in order; each but the last is a multiple of 64 KiB.
    """
    wire = len(brotli.compress(content, quality=5, lgwin=22))
    count = max(1, round(wire / target))
    size = max(_GRAIN, -(-len(content) // count // _GRAIN) * _GRAIN)
    return [content[i : i + size] for i in range(0, len(content), size)]


def stem_of(name: str) -> str:
    """Return a file name that is safe on any host: letters, digits, dots and dashes."""
    plain = PurePosixPath(name).stem
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in plain) or "m"
