"""The build of ONNX Runtime Web that a page loads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import brotli

from sprat.browser.host import Host, runtime_list
from sprat.errors import OptionError

Provider = Literal["wasm", "webgpu"]

#: Module, glue and wasm of each execution provider; the first set that a folder holds whole counts.
_BUILDS: dict[Provider, tuple[tuple[str, str, str], ...]] = {
    "wasm": (
        (
            "ort.wasm.min.mjs",
            "ort-wasm-simd-threaded.mjs",
            "ort-wasm-simd-threaded.wasm",
        ),
    ),
    "webgpu": (
        (
            "ort.webgpu.min.mjs",
            "ort-wasm-simd-threaded.asyncify.mjs",
            "ort-wasm-simd-threaded.asyncify.wasm",
        ),
        (
            "ort.webgpu.min.mjs",
            "ort-wasm-simd-threaded.jsep.mjs",
            "ort-wasm-simd-threaded.jsep.wasm",
        ),
    ),
}
#: The files of the build in the package, by what they are to a page.
BUNDLED = dict(zip(("module", "glue", "wasm"), _BUILDS["wasm"][0], strict=True))
_FOLDER = "/runtime"
_HOW = (
    "Give the 'dist' folder of the npm package: 'npm pack onnxruntime-web', unpack it, "
    "'--runtime package/dist'."
)


@dataclass(frozen=True)
class Runtime:
    """A build and how it computes.

    Attributes:
        name: Package and version, for people.
        module: Path of the script that a page imports, on the host.
        glue: Path of the script that goes with the wasm file.
        wasm: Path of the wasm file.
        bytes: Size of the wasm file.
        provider: What computes.
        files: The build's files by path; None where the host has them with its pages.
    """

    name: str
    module: str
    glue: str
    wasm: str
    bytes: int
    provider: Provider = "wasm"
    files: Mapping[str, Path] | None = None

    def addresses(self) -> dict[str, str]:
        """Return what the page's script is told, relative to the page."""
        return {
            "module": f".{self.module}",
            "glue": f".{self.glue}",
            "wasm": f".{self.wasm}",
            "provider": self.provider,
        }

    def serve(self, host: Host, *, visited: bool) -> None:
        """Put the files on a host.

        Args:
            host: Serves them.
            visited: Visits will be timed, so that scripts and wasm are compressed as a host would
                send them. It takes most of a minute.
        """
        for address, path in (self.files or {}).items():
            content = path.read_bytes()
            if visited:
                host.add(address, brotli.compress(content, lgwin=22), "br")
            else:
                host.add(address, content)


def bundled() -> Runtime:
    """Return the build that is part of the package; it computes in WebAssembly."""
    found = runtime_list()
    module, glue, wasm = BUNDLED.values()
    return Runtime(
        f"{found['package']} {found['version']}",
        f"{_FOLDER}/{module}",
        f"{_FOLDER}/{glue}",
        f"{_FOLDER}/{wasm}",
        int(found["files"][wasm]["bytes"]),
    )


def from_folder(folder: Path, provider: Provider = "wasm") -> Runtime:
    """Return a build of the user's own.

    Args:
        folder: ``dist`` of the npm package ``onnxruntime-web``.
        provider: What is to compute.

    Returns:
        The build.

    Raises:
        OptionError: The folder has no such build.
    """
    for names in _BUILDS[provider]:
        if all((folder / name).is_file() for name in names):
            break
    else:
        wanted = ", ".join(_BUILDS[provider][0])
        raise OptionError(f"{folder} lacks one of {wanted}.", where="--runtime", hint=_HOW)
    module, glue, wasm = (f"{_FOLDER}/own/{name}" for name in names)
    title = f"{_title(folder)}, WebGPU" if provider == "webgpu" else _title(folder)
    return Runtime(
        title,
        module,
        glue,
        wasm,
        (folder / names[2]).stat().st_size,
        provider,
        {f"{_FOLDER}/own/{name}": folder / name for name in names},
    )


def _title(folder: Path) -> str:
    """Return name and version of the package that a folder belongs to."""
    try:
        found = json.loads((folder.parent / "package.json").read_bytes())
        return f"{found['name']} {found['version']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "onnxruntime-web, version unknown"


def choose(folder: Path | None, provider: Provider) -> Runtime:
    """Return the build that is meant.

    Args:
        folder: The user's own; None takes the one in the package.
        provider: What is to compute.

    Returns:
        The build.

    Raises:
        OptionError: The folder has no such build, or WebGPU is wanted and no folder is given.
    """
    if folder is not None:
        return from_folder(folder, provider)
    if provider == "webgpu":
        raise OptionError(
            "the package carries the WebAssembly build only.", where="--webgpu", hint=_HOW
        )
    return bundled()
