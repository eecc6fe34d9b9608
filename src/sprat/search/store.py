"""The work folder: what was made or measured once is not made or measured again.

Each entry's name is a hash of all that it depends on, and appears by rename, so that a killed run
finds whole entries or none, and goes on to the same bytes. An entry that was damaged, edited or
written by somebody else is made again (:mod:`sprat.sealed`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from sprat.files import sha256
from sprat.sealed import read_sealed, write_sealed

T = TypeVar("T")

#: Names of entries: a hash of what they depend on, and what they are.
_NAME = re.compile(r"[0-9a-f]{32}\.(bin|json)")


class Store:
    """Keeps bytes and values by a hash of what they depend on.

    Args:
        folder: Where the entries live.
        basis: What every entry depends on: versions, the model, the data, the seed.
    """

    def __init__(self, folder: Path, basis: Mapping[str, Any]) -> None:
        self._folder = folder
        self._basis = dict(basis)

    def content(self, parts: Mapping[str, Any], make: Callable[[], bytes]) -> bytes:
        """Return the bytes kept for ``parts``, or make and keep them.

        Args:
            parts: JSON values that, with the basis, decide the bytes.
            make: Makes the bytes.

        Raises:
            OutputError: The folder cannot be written.
        """
        path = self._path(parts, "bin")
        kept = read_sealed(path)
        if kept is not None:
            return kept
        content = make()
        write_sealed(path, content)
        return content

    def value(self, parts: Mapping[str, Any], kind: type[T], make: Callable[[], T]) -> T:
        """Return the value kept for ``parts``, or make and keep it.

        Args:
            parts: JSON values that, with the basis, decide the value.
            kind: A type that pydantic can write as JSON: a dataclass or model.
            make: Makes the value.

        Raises:
            OutputError: The folder cannot be written.
        """
        path = self._path(parts, "json")
        adapter = TypeAdapter(kind)
        kept = read_sealed(path)
        if kept is not None:
            with suppress(ValidationError):  # kept by a version whose values had another form
                return adapter.validate_json(kept)
        value = make()
        write_sealed(path, adapter.dump_json(value))
        return value

    def has(self, parts: Mapping[str, Any], suffix: Literal["bin", "json"]) -> bool:
        """Say whether something is kept for ``parts``: bytes (``bin``) or a value (``json``)."""
        return read_sealed(self._path(parts, suffix)) is not None

    def within(self, folder: Path) -> Store:
        """Return a store of the same basis in another folder."""
        return Store(folder, self._basis)

    def entries(self) -> list[tuple[str, bytes]]:
        """Return all that is kept, by the names of its files."""
        paths = sorted(path for path in self._folder.iterdir() if _NAME.fullmatch(path.name))
        kept = ((path.name, read_sealed(path)) for path in paths)
        return [(name, content) for name, content in kept if content is not None]

    def adopt(self, entries: Iterable[tuple[str, bytes]]) -> None:
        """Keep what another store of the same basis made; what is kept already stays.

        Args:
            entries: From :meth:`entries`.

        Raises:
            OutputError: The folder cannot be written.
        """
        for name, content in entries:
            path = self._folder / name
            if _NAME.fullmatch(name) and read_sealed(path) is None:
                write_sealed(path, content)

    def _path(self, parts: Mapping[str, Any], suffix: str) -> Path:
        text = json.dumps({"basis": self._basis, "parts": dict(parts)}, sort_keys=True)
        return self._folder / f"{sha256(text.encode())[:32]}.{suffix}"
