"""Tasks as bytes, with all that is large in them named by its content hash.

A model, an array or a set of samples is a file of its own, so that it is sent once and not with
each task. The files lie in one folder: nodes that can read it, since it is on their machine or
shared, need no sending at all.
"""

from __future__ import annotations

import io
import pickle
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import onnx

from sprat.data.sets import ImageSet, TensorSet
from sprat.errors import OutputError
from sprat.files import sha256, sha256_file

#: Bytes from which on something is a file of its own.
_LARGE = 1 << 16
#: Bytes that are sent at a time.
_CHUNK = 8 << 20

#: Part of a file: its name, where the part begins, its content, and the bytes of the whole.
Chunk = tuple[str, int, bytes, int]


class Depot:
    """Keeps what tasks are made of for nodes to fetch.

    Args:
        folder: Where the files go; it is made anew, and removed in the end.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._sources: dict[str, Path] = {}
        self._parts: dict[str, set[str]] = {}
        self._sets: dict[int, tuple[object, str]] = {}
        self._tasks: WeakKeyDictionary[object, str] = WeakKeyDictionary()
        self.close()

    def pack(self, task: object) -> str:
        """Write a task, once; return its name.

        Raises:
            OutputError: The folder cannot be written.
        """
        if task not in self._tasks:
            self._tasks[task] = self._packed(task)
        return self._tasks[task]

    def sources(self, name: str) -> dict[str, Path]:
        """Return all files that a packed task needs: where they lie here, by their names."""
        found = {name: self._sources[name]}
        for part in self._parts.get(name, ()):
            found |= self.sources(part)
        return found

    def close(self) -> None:
        """Remove the files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def keep(self, content: bytes) -> str:
        """Write some bytes, if they are not there yet; return their name."""
        name = sha256(content)
        if name not in self._sources:
            path = self.folder / name
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                part = path.with_suffix(".part")
                part.write_bytes(content)
                part.replace(path)
            except OSError as error:
                raise OutputError(
                    f"cannot be written ({error.strerror or error}).", where=str(path)
                ) from error
            self._sources[name] = path
        return name

    def keep_set(self, samples: ImageSet | TensorSet) -> str:
        """Write a set of samples; images stay where they are, and are named by their content."""
        known = self._sets.get(id(samples))
        if known is not None:
            return known[1]
        placed: ImageSet | TensorSet = samples
        files = {s.digest: s.path.absolute() for s in samples.samples if s.path is not None}
        if isinstance(samples, ImageSet):
            placed = samples.at([files[s.digest] for s in samples.samples])
            self._sources |= files
        name = self._packed((type(placed), vars(placed)))
        self._parts[name] |= set(files) if isinstance(samples, ImageSet) else set()
        self._sets[id(samples)] = (samples, name)  # kept, so that no other gets its id
        return name

    def _packed(self, value: object) -> str:
        buffer = io.BytesIO()
        packer = _Packer(buffer, self)
        packer.dump(value)
        name = self.keep(buffer.getvalue())
        self._parts.setdefault(name, set()).update(packer.parts)
        return name


class _Packer(pickle.Pickler):
    """Pickles a value, and leaves in a depot what is large in it."""

    def __init__(self, file: io.BytesIO, depot: Depot) -> None:
        super().__init__(file, protocol=5)
        self._depot = depot
        self.parts: set[str] = set()

    def persistent_id(self, value: Any) -> tuple[str, str] | None:
        """Return kind and name of what is kept apart."""
        kind, name = "", ""
        if isinstance(value, onnx.ModelProto):
            kind, name = "model", self._depot.keep(value.SerializeToString(deterministic=True))
        elif isinstance(value, ImageSet | TensorSet):
            kind, name = "set", self._depot.keep_set(value)
        elif isinstance(value, bytes) and len(value) >= _LARGE:
            kind, name = "bytes", self._depot.keep(value)
        elif _is_large(value):
            buffer = io.BytesIO()
            np.save(buffer, value, allow_pickle=False)
            kind, name = "array", self._depot.keep(buffer.getvalue())
        if not kind:
            return None
        self.parts.add(name)
        return kind, name


def _is_large(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.nbytes >= _LARGE and not value.dtype.hasobject


def chunks(sources: Mapping[str, Path]) -> Iterator[list[Chunk]]:
    """Read files; yield them in lists of chunks of 8 MB in all, small files together.

    Args:
        sources: Paths by content hash.
    """
    waiting: list[Chunk] = []
    room = _CHUNK
    for name, path in sources.items():
        size = path.stat().st_size
        with path.open("rb") as file:
            for start in range(0, max(size, 1), _CHUNK):
                chunk = file.read(_CHUNK)
                if waiting and len(chunk) > room:
                    yield waiting
                    waiting, room = [], _CHUNK
                waiting.append((name, start, chunk, size))
                room -= len(chunk)
    if waiting:
        yield waiting


class MissingError(Exception):
    """A file is neither here nor where the main process has it."""


class Shelf:
    """What a node has fetched, and what it made of it.

    Args:
        folder: Where fetched files go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sets: dict[str, ImageSet | TensorSet] = {}

    def find(self, name: str, path: Path | None) -> Path:
        """Return where a file can be read.

        Args:
            name: The hash of its content.
            path: Where it lies on the main process's machine.

        Raises:
            MissingError: It cannot be read, or has another content there.
        """
        for place in (self._folder / name, path):
            if place is not None and place.is_file() and sha256_file(place) == name:
                return place
        raise MissingError(name)

    def lacking(self, sources: Mapping[str, Path]) -> list[str]:
        """Return which of some files cannot be read."""
        found = []
        for name, path in sources.items():
            try:
                self.find(name, path)
            except MissingError:
                found.append(name)
        return found

    def receive(self, sent: list[Chunk]) -> None:
        """Write chunks; a file gets its name with its last one."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, start, content, size in sent:
            part = self._folder / f"{name}.part"
            with part.open("r+b" if start else "wb") as file:
                file.seek(start)
                file.write(content)
            if start + len(content) == size:
                part.replace(self._folder / name)

    def unpack(self, name: str, place: Path) -> Any:
        """Return the value that was packed under a name.

        Args:
            name: Its name.
            place: The depot's folder.

        Raises:
            MissingError: A file that it needs is not to be had.
        """
        content = self.find(name, place / name).read_bytes()
        return _Unpacker(io.BytesIO(content), self, place).load()

    def samples(self, name: str, place: Path) -> ImageSet | TensorSet:
        """Return a set of samples, the same one each time, so that its pixels are kept.

        Raises:
            MissingError: A file that it needs is not to be had.
        """
        if name not in self._sets:
            kind, state = self.unpack(name, place)
            found = kind.__new__(kind)
            vars(found).update(state)
            if isinstance(found, ImageSet):
                found = found.at([self.find(s.digest, s.path) for s in found.samples])
            self._sets[name] = found
        return self._sets[name]


class _Unpacker(pickle.Unpickler):
    """Puts what is large back where it was."""

    def __init__(self, file: io.BytesIO, shelf: Shelf, place: Path) -> None:
        super().__init__(file)
        self._shelf = shelf
        self._place = place

    def persistent_load(self, key: tuple[str, str]) -> Any:
        """Return what was kept apart."""
        kind, name = key
        if kind == "set":
            return self._shelf.samples(name, self._place)
        content = self._shelf.find(name, self._place / name).read_bytes()
        if kind == "model":
            return onnx.load_from_string(content)
        return content if kind == "bytes" else np.load(io.BytesIO(content), allow_pickle=False)
