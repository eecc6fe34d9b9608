"""Which found ``sprat.toml`` may name code: the one that its user has trusted.

A folder that was cloned or downloaded may hold a ``sprat.toml`` and a module that it names. What is
found there names code only after ``--trust``, once for a path and its content: of the file, and of
the modules that it names. What those modules import themselves is not looked at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from sprat.errors import OptionError
from sprat.files import write_atomic
from sprat.state import state_folder

#: ``package.module:function``.
_CODE = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*)")
#: Options of a command that name a place to read from, to write to, or to connect with.
_PLACES = frozenset({"data", "labels", "out", "study"})
_MOST_BYTES = 16 << 20


def risks(table: dict[str, Any]) -> list[str]:
    """Return the keys of a command's table that name code or places.

    Args:
        table: Options of one command, by their flags.
    """
    found = [key for key, value in table.items() if key in _PLACES or any(_names(value))]
    if table.get("weights", "none") not in ("none", "imagenet"):
        found.append("weights")
    return found


def check_trusted(path: Path, keys: Sequence[str]) -> None:
    """Check that a user has trusted a ``sprat.toml`` that nobody named.

    Args:
        path: The file.
        keys: What in it needs trust.

    Raises:
        OptionError: It was not trusted, or it or a module that it names has changed since.
    """
    if keys and _trusted().get(str(path.resolve())) != _digest(path):
        raise OptionError(
            f"sets {', '.join(repr(key) for key in keys)}, which may run code, or read and write "
            "elsewhere, and is not trusted.",
            where=str(path),
            hint="Read it and the code that it names. Then give --trust, once, or give these "
            "options yourself.",
        )


def trust(path: Path) -> None:
    """Trust a ``sprat.toml`` as it is now, with the modules that it names.

    Raises:
        OptionError: It cannot be read, or the user has no home to remember it in.
        OutputError: It cannot be remembered.
    """
    store = _store()
    if store is None:
        raise OptionError(
            "cannot be remembered: this user has no home folder.",
            where="--trust",
            hint="Set HOME, or give these options on the command line.",
        )
    known = _trusted() | {str(path.resolve()): _digest(path)}
    write_atomic(store, json.dumps(known, indent=1, sort_keys=True))


def _digest(path: Path) -> str:
    """Return a hash of a file and of the modules beside it that its text names."""
    content = _bytes(path)
    found = sha256(content)
    for name in sorted({match[1] for match in _CODE.finditer(content.decode(errors="replace"))}):
        for file in _modules(path.parent, name):
            found.update(f"\n{name}\0{file.name}\0".encode())
            found.update(sha256(_bytes(file)).digest())
    return found.hexdigest()


def _modules(folder: Path, name: str) -> Iterator[Path]:
    """Yield the files in a folder that importing a module runs."""
    place = folder
    for part in name.split("."):
        for file in (place / f"{part}.py", place / part / "__init__.py"):
            if file.is_file():
                yield file
        place /= part


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise OptionError(f"cannot be read: {error}.", where=str(path)) from error
    if len(content) > _MOST_BYTES:
        raise OptionError("is too large to be trusted.", where=str(path))
    return content


def _names(value: Any) -> Iterator[str]:
    """Yield the names of code in a value of TOML."""
    if isinstance(value, str) and _CODE.fullmatch(value):
        yield value
    for part in value if isinstance(value, list) else ():
        yield from _names(part)


def _trusted() -> dict[str, str]:
    """Return what was trusted: hash by path. What cannot be read trusts nothing."""
    store = _store()
    if store is None:
        return {}
    try:
        known = json.loads(store.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    pairs = known.items() if isinstance(known, dict) else ()
    return {path: value for path, value in pairs if isinstance(value, str)}


def _store() -> Path | None:
    """Return the file of what was trusted; None where the user has no home."""
    folder = state_folder()
    return folder / "trusted.json" if folder is not None else None
