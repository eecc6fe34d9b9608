"""What the benchmarks share: run a command with its time and memory, and describe the machine."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("sprat", "onnxruntime", "onnx", "numpy", "brotli", "onnx-shrink-ray")


@dataclass(frozen=True)
class Cost:
    """Wall seconds and peak resident megabytes of one command and its children."""

    seconds: float
    megabytes: float


def run(command: list[str], out: Path) -> Cost:
    """Run a command that writes a file, to its end.

    Raises:
        RuntimeError: It failed; the text is its standard error.
    """
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        complaint = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1) or not out.is_file():
        raise RuntimeError(complaint.decode(errors="replace")[-2000:])
    return Cost(time.perf_counter() - start, usage.ru_maxrss * 1024 / 1e6)


def machine() -> str:
    """Describe the processor, its cores and the versions."""
    lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    said = {key.strip(): value.strip() for key, _, value in lines}
    count = sum(key.strip() == "processor" for key, _, _ in lines)
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    cpu = said.get("model name", platform.processor())
    kind = f"family {said.get('cpu family', '?')}, model {said.get('model', '?')}"
    python = f"Python {platform.python_version()}"
    return f"{count} cores of {cpu} ({kind}), {python}, {', '.join(found)}"
