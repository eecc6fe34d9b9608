"""Folders that hold results beside files of the user's: what may be replaced there, and how.

A folder that Sprat wrote into holds ``.sprat.json``, the record of what was written: each file's
name, the command that wrote it, and the SHA-256 of its content. A file is replaced or removed only
where its content is the recorded one. Anything else belongs to the user: it stays, and a command
whose results need its name refuses. Nothing is written through a link.

The record names new content before the content is written, so that the next run recognises what a
killed one left.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sprat.errors import OutputError
from sprat.files import (
    check_out,
    is_there,
    read_plain,
    sha256,
    sha256_file,
    temporary_file,
    unwritten,
)

#: The record of what Sprat wrote into a folder.
RECORD = ".sprat.json"
#: A record of 100,000 files is a third of this.
_MOST_BYTES = 64 << 20
#: The one hidden file that Sprat writes besides its record: GitHub Pages asks for it.
_HIDDEN = (".nojekyll",)
_ELSEWHERE = "Move it away, or let the results go elsewhere (--out)."

_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    by: str
    sha256: tuple[_Digest, ...]


class _Record(BaseModel):
    """What Sprat wrote into a folder; while it writes, a file may have one of two contents."""

    model_config = ConfigDict(extra="forbid")

    sprat: Literal[1] = 1
    files: dict[str, _Entry] = {}

    def knows(self, name: str, digest: str) -> bool:
        entry = self.files.get(name)
        return entry is not None and digest in entry.sha256


@dataclass(frozen=True)
class OutputFolder:
    """A folder that a command writes results into.

    Attributes:
        path: As the user gave it. It may be a link to a folder; nothing below it may be one.
        writer: Who writes: ``results``, ``bundle`` and so on. Only its own files become obsolete.
        inputs: Files that the command reads: they are never replaced, whoever wrote them.
        known: SHA-256 by name of files that Sprat is known to have written there otherwise, where
            there is no record.
    """

    path: Path
    writer: str
    inputs: tuple[Path, ...] = ()
    known: Mapping[str, str] = field(default_factory=dict)

    def check(self, names: Iterable[str]) -> None:
        """Refuse, before any work, what :meth:`write` would refuse after it.

        Args:
            names: Files that will be written, relative to the folder, with ``/``.

        Raises:
            OutputError: The folder is a file or a dangling link or cannot be written, or a file of
                the user's, a link or an input of the command stands where a result goes.
        """
        check_out(self.path)
        if self.path.is_symlink() and not is_there(self.path):
            raise OutputError("is a link to nothing.", where=str(self.path), hint="Give a folder.")
        nearest = next(p for p in (self._root, *self._root.parents) if is_there(p))
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise unwritten(self.path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
        record = self._read()
        self._refuse({name: why for name in names if (why := self._obstacle(name, record))})

    def write(self, files: Mapping[str, bytes | str], *, remove: Iterable[str] = ()) -> None:
        """Write files in their order; each appears whole or not at all.

        A file that has this content already is not touched. Where a write fails, files that are
        new are taken back.

        Args:
            files: Content by name, relative to the folder, with ``/``.
            remove: Files of earlier runs to remove; where they are not Sprat's, they stay.

        Raises:
            OutputError: See :meth:`check`; or the disk is full.
        """
        self._commit(_as_bytes(files), lambda _record: set(remove))

    def write_all(self, files: Mapping[str, bytes | str]) -> None:
        """Write files, and remove all others that this writer wrote there earlier.

        Raises:
            OutputError: See :meth:`write`.
        """

        def obsolete(record: _Record) -> set[str]:
            return {name for name, entry in record.files.items() if entry.by == self.writer}

        self._commit(_as_bytes(files), obsolete)

    @property
    def _root(self) -> Path:
        return Path(os.path.realpath(self.path))

    def _commit(self, files: Mapping[str, bytes], obsolete: Callable[[_Record], set[str]]) -> None:
        root, was_there = self._root, is_there(self.path)
        try:
            root.mkdir(parents=True, exist_ok=True)
            with _locked(root):
                self._replace(root, files, obsolete)
        except OSError as error:
            raise unwritten(self.path, error) from error
        finally:
            if not was_there:
                with suppress(OSError):  # it holds results now, as a rule
                    root.rmdir()

    def _replace(
        self, root: Path, files: Mapping[str, bytes], obsolete: Callable[[_Record], set[str]]
    ) -> None:
        before = self._read()
        digests = {name: sha256(content) for name, content in files.items()}
        self._refuse({n: why for n, d in digests.items() if (why := self._obstacle(n, before, d))})
        there = {n: _digest(root / n) for n in digests}
        # The user's own file of the very same content stays the user's.
        ours = [n for n, d in digests.items() if there[n] != d or before.knows(n, d)]
        gone = {n for n in obsolete(before) - set(files) if _is_removable(n)}
        _write_record(root, _joined(before, {n: digests[n] for n in ours}, self.writer))
        made: list[Path] = []
        try:
            for name, content in files.items():
                if there[name] != digests[name]:
                    self._place(root, name, content, before, made)
        except BaseException:
            _take_back(root, made, keep_record=bool(before.files))
            raise
        for name in sorted(gone):
            self._remove(root, name, before)
        kept = {n: e for n, e in before.files.items() if n not in gone}
        new = {n: _Entry(by=self.writer, sha256=(digests[n],)) for n in ours}
        _write_record(root, _Record(files={**kept, **new}))

    def _place(
        self, root: Path, name: str, content: bytes, record: _Record, made: list[Path]
    ) -> None:
        """Give a file its content by rename; a name that was free is taken only if it still is."""
        path = root / name
        for folder in reversed(path.relative_to(root).parents[:-1]):
            if not os.path.lexists(root / folder):
                (root / folder).mkdir()
                made.append(root / folder)
        with temporary_file(path, content) as temporary:
            if why := self._obstacle(name, record):  # it may have appeared meanwhile
                self._refuse({name: why})
            if os.path.lexists(path):
                temporary.replace(path)
                return
            try:
                _take_free_name(temporary, path)
            except FileExistsError:
                self._refuse({name: "appeared while the command ran; it is kept."})
            made.append(path)

    def _remove(self, root: Path, name: str, record: _Record) -> None:
        """Remove an obsolete file that is Sprat's, and its folder where that is empty then."""
        path = root / name
        if self._obstacle(name, record) or not os.path.lexists(path):
            return
        path.unlink()
        for folder in path.relative_to(root).parents[:-1]:
            with suppress(OSError):  # other files are in it
                (root / folder).rmdir()

    def _obstacle(self, name: str, record: _Record, digest: str = "") -> str:
        """Say why a file may not be written; empty where it may.

        Args:
            name: Relative to the folder.
            record: What Sprat wrote there.
            digest: Of the content to come: where the file has it already, it is in nobody's way.
        """
        if not _is_plain(name) or name == RECORD:
            return "is no name for a result."
        path = self._root / name
        if why := _wrong_kind(self._root, name):
            return why
        if not os.path.lexists(path):
            return ""
        if _is_one_of(path.lstat(), self.inputs):
            return "is read by this command: its result would replace it."
        have = _digest(path)
        if have and (have == digest or record.knows(name, have)):
            return ""
        return "was not written by Sprat, or has been edited since; it is not replaced."

    def _refuse(self, obstacles: Mapping[str, str]) -> None:
        if not obstacles:
            return
        name, why = next(iter(obstacles.items()))
        others = ", ".join(list(obstacles)[1:4])
        more = f" The same holds for {others}." if others else ""
        raise OutputError(why, where=str(self.path / name), hint=f"{_ELSEWHERE}{more}")

    def _read(self) -> _Record:
        path = self._root / RECORD
        if not os.path.lexists(path):
            older = {n: _Entry(by=self.writer, sha256=(d,)) for n, d in self.known.items()}
            return _Record(files=older)
        try:
            return _Record.model_validate_json(read_plain(path, _MOST_BYTES))
        except (OSError, ValidationError) as error:
            raise OutputError(
                "is not the record of what Sprat wrote there.",
                where=str(path),
                hint=_ELSEWHERE,
            ) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other commits out of a folder; its own handle is the lock, so that no file is needed.

    Windows has no such lock: there it is a file of the folder's hash among the user's own temporary
    files.
    """
    try:
        import fcntl
    except ImportError:
        name = f"sprat-{sha256(os.fsencode(folder))}.lock"
        with FileLock(Path(tempfile.gettempdir()) / name):
            yield
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _as_bytes(files: Mapping[str, bytes | str]) -> dict[str, bytes]:
    return {n: c.encode() if isinstance(c, str) else c for n, c in files.items()}


def _is_plain(name: str) -> bool:
    """Say whether a name stays in its folder, and is none of what other tools hide there."""
    parts = PurePosixPath(name).parts
    return (
        bool(parts)
        and "/".join(parts) == name
        and not name.startswith("/")
        and not any(c in name for c in "\\\0")
        and ".." not in parts
        and not any(part.startswith(".") for part in parts[:-1])
    )


def _is_removable(name: str) -> bool:
    """Say whether a record may ask for a file's removal: hidden files belong to other tools."""
    last = PurePosixPath(name).name
    return _is_plain(name) and (not last.startswith(".") or last in _HIDDEN)


def _is_real_folder(path: Path) -> bool:
    return stat.S_ISDIR(path.lstat().st_mode)


def _wrong_kind(root: Path, name: str) -> str:
    """Say what stands in a file's place that is no plain file in plain folders; empty for none."""
    path = root / name
    for folder in path.relative_to(root).parents[:-1]:
        if os.path.lexists(root / folder) and not _is_real_folder(root / folder):
            return f"{folder} there is no folder, or a link to one."
    if path.is_symlink():
        return "is a link, and nothing is written through links."
    if path.is_dir():
        return "is a folder."
    return "" if path.is_file() or not os.path.lexists(path) else "is no plain file."


def _is_one_of(found: os.stat_result, files: Iterable[Path]) -> bool:
    for file in files:
        with suppress(OSError):  # an input that is missing is told by whoever reads it
            other = file.stat()
            if (found.st_dev, found.st_ino) == (other.st_dev, other.st_ino):
                return True
    return False


def _digest(path: Path) -> str:
    """Return a plain file's SHA-256; empty where it is none or cannot be read."""
    try:
        return sha256_file(path) if stat.S_ISREG(path.lstat().st_mode) else ""
    except OSError:
        return ""


def _joined(before: _Record, coming: Mapping[str, str], writer: str) -> _Record:
    """Return a record that knows both what is there and what is coming."""
    files = dict(before.files)
    for name, digest in coming.items():
        had = files[name].sha256 if name in files else ()
        files[name] = _Entry(by=writer, sha256=tuple(dict.fromkeys((*had, digest))))
    return _Record(files=files)


def _write_record(root: Path, record: _Record) -> None:
    ordered = _Record(files=dict(sorted(record.files.items())))
    content = f"{ordered.model_dump_json(indent=1)}\n".encode()
    with temporary_file(root / RECORD, content) as temporary:
        temporary.replace(root / RECORD)


def _take_free_name(temporary: Path, path: Path) -> None:
    """Give a file a name that is free.

    Raises:
        FileExistsError: It was taken in this very moment.
    """
    try:
        os.link(temporary, path, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        temporary.replace(path)


def _take_back(root: Path, made: Iterable[Path], *, keep_record: bool) -> None:
    """Remove what a write that failed had newly made."""
    for path in reversed(list(made)):
        with suppress(OSError):  # a folder that others wrote into, a file that never came
            path.rmdir() if _is_real_folder(path) else path.unlink()
    if not keep_record:
        (root / RECORD).unlink(missing_ok=True)
