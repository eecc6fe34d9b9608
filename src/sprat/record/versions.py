"""What a result's bytes depend on beside its input, and where it was made."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

_LIBRARIES = ("numpy", "scipy", "onnx", "onnxruntime", "onnxslim", "brotli", "numba", "pillow")


def versions() -> dict[str, str]:
    """Return the versions that the output's bytes depend on, by package."""
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}


def machine() -> str:
    """Describe the machine."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
