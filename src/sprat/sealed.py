"""Entries of a work folder that are believed only where this user's own runs wrote them.

An entry begins with an HMAC-SHA256 over its place and content. The key is 32 random bytes in
the user's folder for state (:func:`sprat.state.state_folder`), readable by the user alone.
So a damaged or edited entry, or one that came with somebody else's folder, counts as missing and is
made again; a plain hash beside the content would have been forged with it.

Whoever can read the user's key, or change Sprat itself, is not kept out.
"""

from __future__ import annotations

import hmac
import os
import secrets
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from sprat.files import check_own, read_plain, write_atomic
from sprat.state import state_folder

_KEY_BYTES = 32
_SEAL_BYTES = 64


def write_sealed(path: Path, content: bytes) -> Path:
    """Write an entry by temporary file and rename.

    Args:
        path: Its place; the folder is made if it is missing.
        content: What is kept.

    Returns:
        ``path``.

    Raises:
        OutputError: It cannot be written, or its folder is a link.
    """
    check_own(path.parent)
    return write_atomic(path, _seal(path, content) + content)


def read_sealed(path: Path) -> bytes | None:
    """Read an entry.

    Args:
        path: Its place.

    Returns:
        Its content; None where there is none that this user's runs wrote to this place.
    """
    try:
        whole = read_plain(path)
    except OSError:
        return None
    seal, content = whole[:_SEAL_BYTES], whole[_SEAL_BYTES:]
    return content if hmac.compare_digest(seal, _seal(path, content)) else None


def remove_sealed(folder: Path) -> None:
    """Remove a folder of entries; where something else is in it, that and the folder stay.

    Args:
        folder: It need not be there.
    """
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in folder.iterdir():
        if read_sealed(path) is not None:
            path.unlink()
    with suppress(OSError):  # it is not empty
        folder.rmdir()


def _seal(path: Path, content: bytes) -> bytes:
    """Return the seal of a content in its place: the same content elsewhere is another entry."""
    place = f"{path.parent.name}/{path.name}\n".encode(errors="surrogateescape")
    seal = hmac.new(_key(state_folder()), place, "sha256")
    seal.update(content)
    return seal.hexdigest().encode()


def key_is_kept() -> bool:
    """Say whether later runs of this user will believe what this one seals."""
    folder = state_folder()
    try:
        return folder is not None and read_plain(folder / "key", _KEY_BYTES) == _key(folder)
    except OSError:
        return False


@cache
def _key(folder: Path | None) -> bytes:
    """Return the user's key; it is made where there is none.

    Where the home cannot be written, this process has a key of its own, and what it keeps is made
    again by the next one.
    """
    if folder is None:
        return secrets.token_bytes(_KEY_BYTES)
    path = folder / "key"
    try:
        if not os.path.lexists(path):
            _make_key(path)
        found = read_plain(path, _KEY_BYTES)
    except OSError:
        found = b""
    return found if len(found) == _KEY_BYTES else secrets.token_bytes(_KEY_BYTES)


def _make_key(path: Path) -> None:
    """Write a new key, whole or not at all; where another run is first, its key is everyone's."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".key.", dir=path.parent)  # for the user alone
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        Path(temporary).unlink()
