"""The work folder: what was made or measured once is not made or measured again.

Each entry's name is a hash of all that it depends on, and appears by rename, so that a killed run
finds whole entries or none, and goes on to the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from sprat.files import sha256, write_atomic

T = TypeVar("T")


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
        if path.is_file():
            return path.read_bytes()
        content = make()
        write_atomic(path, content)
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
        if path.is_file():
            try:
                return adapter.validate_json(path.read_bytes())
            except ValidationError:
                path.unlink()  # kept by a version whose values had another form
        value = make()
        write_atomic(path, adapter.dump_json(value))
        return value

    def has(self, parts: Mapping[str, Any], suffix: Literal["bin", "json"]) -> bool:
        """Say whether something is kept for ``parts``: bytes (``bin``) or a value (``json``)."""
        return self._path(parts, suffix).is_file()

    def within(self, folder: Path) -> Store:
        """Return a store of the same basis in another folder."""
        return Store(folder, self._basis)

    def entries(self) -> list[tuple[str, bytes]]:
        """Return all that is kept, by the names of its files."""
        return [(path.name, path.read_bytes()) for path in sorted(self._folder.iterdir())]

    def adopt(self, entries: Iterable[tuple[str, bytes]]) -> None:
        """Keep what another store of the same basis made; what is kept already stays.

        Args:
            entries: From :meth:`entries`.

        Raises:
            OutputError: The folder cannot be written.
        """
        for name, content in entries:
            path = self._folder / name
            if not path.is_file():
                write_atomic(path, content)

    def _path(self, parts: Mapping[str, Any], suffix: str) -> Path:
        text = json.dumps({"basis": self._basis, "parts": dict(parts)}, sort_keys=True)
        return self._folder / f"{sha256(text.encode())[:32]}.{suffix}"
