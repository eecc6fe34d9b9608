"""The work folder: what was made or measured once is not made or measured again.

Each entry's name is a hash of all that it depends on, and appears by rename, so that a killed run
finds whole entries or none, and goes on to the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

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

    def _path(self, parts: Mapping[str, Any], suffix: str) -> Path:
        text = json.dumps({"basis": self._basis, "parts": dict(parts)}, sort_keys=True)
        return self._folder / f"{sha256(text.encode())[:32]}.{suffix}"
