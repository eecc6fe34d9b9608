"""What all tests share."""

import errno
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import brotli
import pytest
from hypothesis import settings

# The same examples in every run, and no verdict by the clock.
settings.register_profile("sprat", deadline=None, derandomize=True)
settings.load_profile("sprat")


@pytest.fixture(autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what a test trusts out of the home of who runs it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))


@pytest.fixture(scope="session", autouse=True)
def compressed_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compress the same bytes once: a second a megabyte, for models that many tests share."""
    base = tmp_path_factory.getbasetemp()
    kept = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "brotli"
    kept.mkdir(exist_ok=True)
    compress = brotli.compress

    def once(content: bytes, **how: int) -> bytes:
        key = hashlib.sha256(bytes(content) + repr(sorted(how.items())).encode()).hexdigest()
        path = kept / key
        if not path.is_file():
            part = kept / f"{key}.{os.getpid()}.{threading.get_ident()}"
            part.write_bytes(compress(content, **how))
            part.replace(path)
        return path.read_bytes()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(brotli, "compress", once)
        yield


@pytest.fixture(scope="session", autouse=True)
def own_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Seal entries of work folders by a key of the tests' own, which all their processes share."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(shared / "state"))
        yield


@pytest.fixture
def deny(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Return what lets the system refuse to open a file: root, who may run this, may open all."""

    def denied(wanted: Path) -> None:
        plain = Path.open

        def opened(path: Path, *args: Any, **more: Any) -> Any:
            if path == wanted:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return plain(path, *args, **more)

        monkeypatch.setattr(Path, "open", opened)

    return denied
