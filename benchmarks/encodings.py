"""Which content encoding is smallest for what a page loads: gzip, brotli or zstd.

Usage:
    pip install -e '.[bench]'
    python -m benchmarks.encodings MODEL...

Prints a table of the runtime's files and of each model, cut as ``sprat bundle`` cuts it.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import brotli
import zstandard

from benchmarks.measure import machine
from sprat.browser.host import site_files
from sprat.delivery.bundle import Shape
from sprat.delivery.pieces import chunks
from sprat.model.load import load

#: zstd's largest window that browsers accept: 8 MB (RFC 9659).
WINDOW_LOG = 23


def sizes(parts: list[bytes]) -> tuple[int, ...]:
    """Return the bytes of gzip -9, br-11 with windows of 4 and 16 MiB, and zstd at its best."""
    parameters = zstandard.ZstdCompressionParameters.from_level(22, window_log=WINDOW_LOG)
    best = zstandard.ZstdCompressor(compression_params=parameters)
    return (
        sum(len(gzip.compress(part, 9, mtime=0)) for part in parts),
        *(sum(len(brotli.compress(part, lgwin=log)) for part in parts) for log in (22, 24)),
        sum(len(best.compress(part)) for part in parts),
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encodings", description=__doc__)
    parser.add_argument("models", type=Path, nargs="+")
    options = parser.parse_args()
    print(f"{machine()}, zstandard {zstandard.__version__}\n")
    print("| file | decoded | gzip -9 | br-11 | br-11, 16 MiB | zstd -22 |")
    print("|---|---:|---:|---:|---:|---:|")
    rows = {
        Path(path).stem: [brotli.decompress(content)]
        for path, content in site_files().items()
        if path.endswith(".br")
    }
    for path in options.models:
        content = load(path).SerializeToString(deterministic=True)
        rows[f"{path.parent.name}/{path.name}"] = list(chunks(content, Shape().chunk))
    for name, parts in rows.items():
        total = sum(len(part) for part in parts)
        print(f"| {name} | {total:,} | " + " | ".join(f"{n:,}" for n in sizes(parts)) + " |")


if __name__ == "__main__":
    main()
