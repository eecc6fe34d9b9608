"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from sprat.errors import OptionError, OutputError
from sprat.supervisor import RUN_FOLDER

#: For ``os.open``: no link is followed and a pipe is not waited for, and bytes stay as they are.
#: Windows has only the last; there :func:`read_plain` looks for links itself.
PLAIN = (
    getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_file(path, data) as temporary:
            temporary.replace(path)
    except OSError as error:
        raise unwritten(path, error) from error
    return path


@contextmanager
def temporary_file(path: Path, content: bytes) -> Iterator[Path]:
    """Write a file beside the one that it is to become; it is removed unless it was renamed.

    Args:
        path: The other file; its folder is there.
        content: What is written, to the disk itself.

    Yields:
        The temporary file.

    Raises:
        OSError: It cannot be written.
    """
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with unfinished(Path(temporary)):
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            yield Path(temporary)
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def read_plain(path: Path, most: int | None = None) -> bytes:
    """Read a plain file that is no link; nothing is waited for.

    Args:
        path: Its path.
        most: Bytes that it may have.

    Raises:
        OSError: There is no such file, it is a link, a pipe or a folder, or it has more bytes.
    """
    if not hasattr(os, "O_NOFOLLOW") and path.is_symlink():
        raise OSError(errno.ELOOP, "is a link", str(path))
    handle = os.open(path, os.O_RDONLY | PLAIN)
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or (most is not None and found.st_size > most):
            raise OSError(errno.EINVAL, "no plain file, or too large", str(path))
        return file.read()


def check_own(place: Path) -> None:
    """Refuse a file or a folder of work that leads elsewhere.

    Raises:
        OutputError: It is a link.
    """
    if place.is_symlink():
        raise OutputError(
            "is a link, and nothing is written through links.",
            where=str(place),
            hint="Remove it.",
        )


def check_work(folder: Path) -> None:
    """Refuse a folder whose work folder leads elsewhere, or in which a lock would harm a file.

    Args:
        folder: Of results.

    Raises:
        OutputError: ``.work`` is a link or a file, or ``.work/lock`` is not Sprat's.
    """
    work = folder / ".work"
    if work.is_symlink() or (is_there(work) and not work.is_dir()):
        raise OutputError(
            "is not a folder of its own: nothing is written through links.",
            where=str(work),
            hint="Move it away, or give another folder for the results.",
        )
    lock = work / "lock"
    if lock.is_symlink() or (is_there(lock) and not _is_empty_file(lock)):
        raise OutputError(
            "is not a lock of Sprat's.",
            where=str(lock),
            hint="Move it away, or give another folder for the results.",
        )


def _is_empty_file(path: Path) -> bool:
    found = path.lstat()
    return stat.S_ISREG(found.st_mode) and not found.st_size


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
        OutputError: Another run is in it, or it cannot be written; see also :func:`check_work`.
    """
    check_work(folder)
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
