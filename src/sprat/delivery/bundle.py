"""Put model, runtime, page and headers into one folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import brotli

from sprat.browser.host import site_files
from sprat.browser.runtime import BUNDLED
from sprat.delivery.hosts import RULES, Host, check_limits, check_wishes, settings
from sprat.delivery.manifest import (
    Decode,
    FileEntry,
    Manifest,
    ModelEntry,
    Role,
    RuntimeEntry,
    RuntimeKind,
    manifest_text,
    numbered,
)
from sprat.delivery.pieces import Piece, chunks, gzip, piece
from sprat.files import sha256
from sprat.parallel import ordered_map
from sprat.progress import Progress, silent
from sprat.record.schema import ReadingRecord

#: Endings of compressed files beside the plain ones.
_ENDINGS = (".br", ".gz")
#: Endings of text files that are worth compressing.
_TEXTS = (".html", ".js", ".css", ".json", ".webmanifest", ".svg")
#: What a first visit waits for is asked for with the page, before its scripts.
_EARLY = '<link rel="preload" as="fetch" crossorigin href="./{}">\n'
#: Chunks that are asked for so; the rest of a large model would only wait behind them.
_MOST_EARLY = 16


#: The files of each runtime by what they are to a page, as the package has them.
_PARTS: dict[RuntimeKind, dict[str, str]] = {
    "ort": {key: f"runtime/{name}" for key, name in BUNDLED.items()},
    "lean": {"module": "lean/lean.mjs", "glue": "lean/helper.wasm", "wasm": "lean/xnnpack.wasm"},
}


@dataclass(frozen=True)
class Contents:
    """What a bundle is made from.

    Attributes:
        name: Of the model, for people.
        models: Each model's bytes with its role, in the order of loading.
        preprocess: How an image becomes the input, as JSON; None for tensors.
        reading: How the output becomes an answer.
        classes: Names of the classes by index.
        runtime: What computes; the models are plans with their weights for the lean runtime.
        sources: SHA-256 of the ONNX model that a plan was compiled from, by role.
        then: An ONNX model that takes over at last, in ONNX Runtime Web.
        release: Which release it is; None counts on from ``before``.
        before: The manifest of the bundle that it replaces.
    """

    name: str
    models: Sequence[tuple[Role, bytes]]
    preprocess: dict[str, Any] | None = None
    reading: ReadingRecord | None = None
    classes: tuple[str, ...] = ()
    runtime: RuntimeKind = "ort"
    sources: Mapping[Role, str] = field(default_factory=dict)
    then: bytes | None = None
    release: int | None = None
    before: Manifest | None = None


@dataclass(frozen=True)
class Shape:
    """How a bundle is cut.

    Attributes:
        chunk: Bytes of one chunk on the wire, about.
        host: Where it is served; None for any that sends compressed files from beside the plain.
        page: Add the page on which a visitor draws.
        threads: Isolate the page, so that threads work.
        prefix: Path of the bundle on the site, without a slash at its end.
    """

    chunk: int = 64 << 10
    host: Host | None = None
    page: bool = False
    threads: bool = False
    prefix: str = ""


def make_bundle(
    contents: Contents, shape: Shape, progress: Progress = silent
) -> tuple[dict[str, bytes], Manifest]:
    """Make a bundle in memory; the same input gives the same bytes.

    Args:
        contents: What it is made from.
        shape: How it is cut.
        progress: Told how far the work is.

    Returns:
        Every file's bytes by path, and the manifest.

    Raises:
        OptionError: The host's limits are not kept.
    """
    check_wishes(shape.host, shape.threads, shape.prefix)
    decode: Decode = RULES[shape.host].decode if shape.host else "http"
    siblings = RULES[shape.host].siblings if shape.host else True
    files: dict[str, bytes] = {}
    loads = [_Load(role, content) for role, content in contents.models]
    if contents.then is not None:
        loads.append(_Load("full", contents.then, _runtime("ort", decode, files, siblings)))
    runtime = _runtime(contents.runtime, decode, files, siblings)
    models = []
    for i, load in enumerate(loads):
        progress("compressing", i + 1, len(loads) + 1)
        compress = partial(piece, f"assets/{load.role}", ".bin", decode=decode)
        cut = ordered_map(compress, chunks(load.content, shape.chunk))
        parts = [_stored(part, files, siblings) for part in cut]
        models.append(
            ModelEntry(
                role=load.role,
                bytes=len(load.content),
                sha256=sha256(load.content),
                chunks=tuple(parts),
                source=contents.sources.get(load.role) if load.runtime is None else None,
                runtime=load.runtime,
            )
        )
    progress("compressing", len(loads) + 1, len(loads) + 1)
    manifest = _manifest(contents, decode, runtime, models)
    files["manifest.json"] = manifest_text(manifest).encode()
    files["LICENSES.txt"] = _licences(manifest).encode()
    files |= _page(_first(runtime, models[0])) if shape.page else _loader()
    if siblings:
        files |= _compressed_texts(files)
    host = shape.host
    if host is not None:
        told = settings(host, shape.threads, shape.prefix)
        files |= {name: text.encode() for name, text in told.items()}
        check_limits(host, {path: len(content) for path, content in files.items()})
    return files, manifest


def names_of(shape: Shape) -> list[str]:
    """Return the names of a bundle's files that do not hold the hash of their content.

    Args:
        shape: How it is cut.

    Raises:
        OptionError: The host cannot do what is wanted.
    """
    check_wishes(shape.host, shape.threads, shape.prefix)
    page = _page([]) if shape.page else _loader()
    names = ["manifest.json", "LICENSES.txt", *page]
    if not shape.host or RULES[shape.host].siblings:
        names += [f"{name}{ending}" for name in names if _is_text(name) for ending in _ENDINGS]
    if shape.host:
        names += settings(shape.host, shape.threads, shape.prefix)
    return names


@dataclass(frozen=True)
class _Load:
    """A model to be cut, with a runtime of its own where it needs one."""

    role: Role
    content: bytes
    runtime: RuntimeEntry | None = None


def _runtime(
    kind: RuntimeKind, decode: Decode, files: dict[str, bytes], siblings: bool
) -> RuntimeEntry:
    """Add a runtime's files, and return what the manifest says of them."""
    parts = _PARTS[kind]
    entries = {
        key: _stored(_runtime_piece(key, name, decode), files, siblings)
        for key, name in parts.items()
    }
    built = json.loads(site_files()[f"/{parts['wasm'].partition('/')[0]}/runtime.json"])
    return RuntimeEntry(kind=kind, package=built["package"], version=built["version"], **entries)


def _runtime_piece(key: str, name: str, decode: Decode) -> Piece:
    small = site_files()[f"/{name}.br"]
    stem, _, suffix = name.rpartition("/")[2].rpartition(".")
    return piece(
        f"runtime/{stem}",
        f".{suffix}",
        brotli.decompress(small),
        decode,
        opaque=key == "wasm",
        small=small,
    )


def _stored(made: Piece, files: dict[str, bytes], siblings: bool) -> FileEntry:
    files[made.entry.path] = made.content
    if siblings:
        for ending, content in made.siblings.items():
            files[made.entry.path + ending] = content
    return made.entry


def _manifest(
    contents: Contents, decode: Decode, runtime: RuntimeEntry, models: Sequence[ModelEntry]
) -> Manifest:
    made = Manifest(
        name=contents.name,
        version="",
        decode=decode,
        runtime=runtime,
        models=tuple(models),
        preprocess=contents.preprocess,
        reading=contents.reading,
        classes=contents.classes,
    )
    return numbered(made, contents.before, contents.release)


def _loader() -> dict[str, bytes]:
    """Return ``loader.js``, which a page of the user's imports, and what it imports itself."""
    built = site_files()
    return dict(_files_of("src/loader.ts", json.loads(built["/vite.json"]), built))


def _first(runtime: RuntimeEntry, model: ModelEntry) -> list[str]:
    """Return the files that the first answer waits for, in the order of asking."""
    parts = (runtime.wasm, *model.chunks[:_MOST_EARLY], runtime.module, runtime.glue)
    return ["manifest.json", *(part.path for part in parts)]


def _page(early_paths: Sequence[str]) -> dict[str, bytes]:
    """Return the page of the package, with a service worker that knows its files."""
    built = site_files()
    entry = json.loads(built["/vite.json"])
    page = _loader() | dict(_files_of("page.html", entry, built))
    workers = [path for path in page if path.startswith("assets/worker")]
    early = "".join(_EARLY.format(path) for path in (*workers, *early_paths)).encode()
    page["index.html"] = built["/page.html"].replace(b"<title>", early + b"<title>", 1)
    for name in ("app.webmanifest", "icon-192.png", "icon-512.png", "icon.svg"):
        page[name] = built[f"/{name}"]
    shell = sorted(page)
    version = sha256(b"".join(sha256(page[name]).encode() for name in shell))[:16]
    worker = built["/sw.js"].decode()
    listed = json.dumps(["./", *(name for name in shell if name != "index.html")])
    worker = worker.replace("__FILES__", listed).replace("__VERSION__", version)
    page["sw.js"] = worker.encode()
    return page


def _files_of(
    name: str, entries: Mapping[str, Any], built: Mapping[str, bytes]
) -> Iterator[tuple[str, bytes]]:
    """Yield the files that a page of the build needs, its scripts' imports included."""
    waiting, seen = [name], set()
    while waiting:
        key = waiting.pop()
        if key in seen:
            continue
        seen.add(key)
        entry = entries[key]
        for path in (entry["file"], *entry.get("css", ()), *entry.get("assets", ())):
            if f"/{path}" in built and not path.endswith(".html"):
                yield path, built[f"/{path}"]
        waiting += [*entry.get("imports", ()), *entry.get("dynamicImports", ())]


def _compressed_texts(files: Mapping[str, bytes]) -> dict[str, bytes]:
    makers: dict[str, Callable[[bytes], bytes]] = {
        ".br": lambda content: brotli.compress(content, quality=11, lgwin=22),
        ".gz": gzip,
    }
    return {
        f"{path}{ending}": make(content)
        for path, content in files.items()
        if _is_text(path)
        for ending, make in makers.items()
    }


def _is_text(path: str) -> bool:
    """Say whether a file gets compressed siblings here; the runtime's have theirs already."""
    return path.endswith(_TEXTS) and not path.startswith("runtime/")


def _licences(manifest: Manifest) -> str:
    runtimes = {r.kind: r for r in (manifest.runtime, *(m.runtime for m in manifest.models)) if r}
    said = []
    if "lean" in runtimes:
        said.append("This folder holds the lean runtime (runtime/):\n\n")
        said.append(site_files()["/lean/LICENSES.txt"].decode() + "\n")
    if "ort" in runtimes:
        ort = runtimes["ort"]
        said.append("This folder holds:\n\n")
        said.append(
            f"{ort.package} {ort.version} (runtime/), Copyright (c) Microsoft Corporation, "
            f"MIT licence:\n\n{_MIT}\n"
        )
    return "".join([*said, _OURS])


_OURS = """The page and the loader (assets/, sw.js, index.html) of Sprat, Apache-2.0 \
(https://www.apache.org/licenses/LICENSE-2.0).

The models belong to whoever made the bundle.
"""
_MIT = """Permission is hereby granted, free of charge, to any person obtaining a copy of this
software and associated documentation files (the "Software"), to deal in the Software without
restriction, including without limitation the rights to use, copy, modify, merge, publish,
distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the
Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or
substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES
OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
