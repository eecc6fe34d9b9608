"""Files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from sprat.errors import OptionError, OutputError
from sprat.supervisor import RUN_FOLDER

#: Seconds for a run that is just ending.
_PATIENCE = 2.0


def is_there(path: Path) -> bool:
    """Return whether there is such a file or folder that can be seen.

    pathlib raises where a folder on the way may not be entered or a name is too long (before Python
    3.14): what cannot be seen is missing.
    """
    return os.path.exists(path)  # noqa: PTH110


def check_name(path: Path | str) -> None:
    """Refuse a path that is no text: records, reports and manifests could not name it.

    Raises:
        OptionError: It is not.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise OptionError(
            "its name is no UTF-8, so that no record could name it.",
            where=str(path),
            hint="Rename it.",
        ) from error


def check_out(out: Path) -> None:
    """Refuse a folder for results that is a file.

    Raises:
        OutputError: It is.
        OptionError: Its name is no text.
    """
    check_name(out)
    if is_there(out) and not out.is_dir():
        raise OutputError("is a file.", where=str(out), hint="Give a folder.")


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
        with unfinished(Path(temporary)):
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
    except OSError as error:
        raise unwritten(path, error) from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
    return path


@contextmanager
def unfinished(place: Path) -> Iterator[None]:
    """Let a temporary file or folder be removed if the command line's process is killed inside.

    Args:
        place: The file or folder.
    """
    run = os.environ.get(RUN_FOLDER)
    if not run:
        yield
        return
    link = Path(run) / "unfinished" / uuid4().hex
    with suppress(OSError):
        link.symlink_to(place.absolute())
    try:
        yield
    finally:
        with suppress(OSError):
            link.unlink()


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder while inside; a killed run keeps nobody out.

    Args:
        folder: Of results; made if it is missing. The lock lies in its work folder.

    Raises:
        OutputError: Another run is in it, or it cannot be written.
    """
    work = folder / ".work"
    lock = FileLock(work / "lock", timeout=_PATIENCE)
    try:
        work.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise OutputError(
            "another run writes here.",
            where=str(folder),
            hint="Wait for it to end, or give another folder.",
        ) from error
    except OSError as error:
        raise unwritten(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def unwritten(place: Path | str, error: OSError) -> OutputError:
    """Return the error that says what could not be written, and why."""
    return OutputError(
        f"cannot be written ({error.strerror or error}).",
        where=str(place),
        hint="Check the folder's permissions and the space on the disk.",
    )


def sha256(content: bytes) -> str:
    """Return the SHA-256 of some bytes as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
