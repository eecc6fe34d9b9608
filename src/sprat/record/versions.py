"""The versions that the bytes of a result depend on."""

from __future__ import annotations

import platform
from importlib.metadata import version

_LIBRARIES = ("numpy", "onnx", "onnxruntime", "onnxslim", "brotli", "numba", "pillow")


def versions() -> dict[str, str]:
    """Return the versions that the output's bytes depend on, by package."""
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}
