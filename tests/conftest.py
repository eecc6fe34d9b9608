"""What all tests share."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# The same examples in every run, and no verdict by the clock.
settings.register_profile("sprat", deadline=None, derandomize=True)
settings.load_profile("sprat")


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
