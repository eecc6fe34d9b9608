"""Files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from sprat.errors import OutputError


def write_atomic(path: Path, content: bytes | str) -> Path:
    """Write a file by temporary file and rename, so that a kill never leaves half of it.

    Args:
        path: Where the file goes. Its folder is made if it is missing.
        content: Bytes, or text that is written as UTF-8.

    Returns:
        ``path``.

    Raises:
        OutputError: The folder cannot be made or written, or the disk is full.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        raise OutputError(
            f"cannot be written ({error.strerror or error}).",
            where=str(path),
            hint="Check the folder's permissions and the space on the disk.",
        ) from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
    return path


def sha256(content: bytes) -> str:
    """Return the SHA-256 of some bytes as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
