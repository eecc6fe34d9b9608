"""What a file costs on the wire: raw, gzip and brotli bytes, and seconds on real networks."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import brotli

#: Networks that the mission names, in megabits per second.
NETWORKS_MBPS = (50.0, 10.0, 1.0)

#: br-11 bytes of ``ort-wasm-simd-threaded.wasm`` and ``ort.wasm.min.mjs`` of ONNX Runtime Web
#: 1.30.0, which a page downloads before it can run any model.
RUNTIME_BROTLI_BYTES = 2_378_000

_SAMPLE_BYTES = 1 << 20
_SAMPLE_QUALITY = 10
_EXACT_BELOW = 2 << 20


@dataclass(frozen=True)
class WireBytes:
    """Bytes of one file, as stored and as sent.

    Attributes:
        raw: Bytes on disk.
        gzip: Bytes after gzip level 9.
        brotli: Bytes after brotli quality 11, window 2^22.
        estimated: True where ``gzip`` and ``brotli`` were scaled up from evenly spread samples.
    """

    raw: int
    gzip: int
    brotli: int
    estimated: bool = False


def brotli_bytes(content: bytes, *, quality: int = 11) -> int:
    """Return the bytes of ``content`` after brotli quality 11, window 2^22 (RFC 7932)."""
    return len(brotli.compress(content, quality=quality, lgwin=22))


def gzip_bytes(content: bytes) -> int:
    """Return the bytes of ``content`` after gzip level 9 (RFC 1952)."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return len(packer.compress(content)) + len(packer.flush())


def wire_bytes(content: bytes, *, exact: bool = True) -> WireBytes:
    """Measure what a file costs on the wire.

    Args:
        content: The file.
        exact: Compress all of it (about 1 MB a second). Otherwise files above 2 MB are estimated
            from 1 MB in 16 evenly spread pieces, with brotli at quality 10, which takes half the
            time; good to about one per cent for float weights.

    Returns:
        The bytes raw, in gzip and in brotli.
    """
    if exact or len(content) <= _EXACT_BELOW:
        return WireBytes(len(content), gzip_bytes(content), brotli_bytes(content))
    piece = _SAMPLE_BYTES // 16
    starts = [i * (len(content) - piece) // 15 for i in range(16)]
    sample = b"".join(content[s : s + piece] for s in starts)
    scale = len(content) / len(sample)
    return WireBytes(
        len(content),
        round(gzip_bytes(sample) * scale),
        round(brotli_bytes(sample, quality=_SAMPLE_QUALITY) * scale),
        estimated=True,
    )


def download_seconds(size: int, mbps: float) -> float:
    """Return the seconds that ``size`` bytes take at ``mbps`` megabits (10^6 bits) per second."""
    return size * 8 / (mbps * 1e6)
