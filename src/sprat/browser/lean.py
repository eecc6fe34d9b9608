"""Lean plans where they will run: in Node, which has Chromium's engine, or in Chromium itself."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import brotli
import numpy as np

from sprat.browser.extra import require
from sprat.browser.host import SITE, Host, built, serving, with_site
from sprat.browser.launch import launched, within
from sprat.errors import BrowserError
from sprat.model.session import Feeds, Outputs

#: Where plans are tried.
Place = Literal["node", "chromium"]
#: Seconds that one list of cases may take.
_LIMIT = 600.0
_BUILT = SITE / "lean"
_SCRIPT = """(job) => new Promise((resolve, reject) => {
  const worker = new Worker("./lean/worker.mjs", { type: "module" });
  worker.onmessage = ({ data }) => { worker.terminate(); resolve(data); };
  worker.onerror = (event) => reject(new Error(event.message));
  worker.postMessage(job);
})"""


@dataclass(frozen=True)
class Case:
    """A plan with its inputs.

    Attributes:
        plan: The text of ``plan.json``.
        weights: The weights' file.
        feeds: The inputs of each run.
        repeat: Runs again after each, whose outputs are not kept.
    """

    plan: str
    weights: bytes
    feeds: tuple[Feeds, ...]
    repeat: int = 0

    def files(self) -> dict[str, bytes]:
        """Return what the runtime reads, by name."""
        from safetensors.numpy import save

        # numpy's ascontiguousarray would give a single number an axis
        packed = [save({k: np.asarray(v, order="C") for k, v in f.items()}) for f in self.feeds]
        inputs = {f"{i}.safetensors": content for i, content in enumerate(packed)}
        return {"plan.json": self.plan.encode(), "weights.bin": self.weights, **inputs}

    def entry(self, prefix: str) -> dict[str, Any]:
        """Return the case as the job lists it, with files at a path."""
        return {
            "plan": f"{prefix}/plan.json",
            "weights": f"{prefix}/weights.bin",
            "feeds": [f"{prefix}/{i}.safetensors" for i in range(len(self.feeds))],
            "outputs": [f"{prefix}/out-{i}.safetensors" for i in range(len(self.feeds))],
            "repeat": self.repeat,
        }


@dataclass(frozen=True)
class Answer:
    """What the runtime made of a case.

    Attributes:
        place: Where it was run.
        error: What it said where it refused; empty where it ran.
        outputs: The outputs of each run.
        heaps: Bytes of memory after the first run, and at the end.
        seconds: From the bytes in memory to the first answer.
    """

    place: Place
    error: str = ""
    outputs: tuple[Outputs, ...] = ()
    heaps: tuple[int, int] = (0, 0)
    seconds: float = 0.0


def find_node() -> Path | None:
    """Return Node of the system, or the one that PyPI's package put beside this Python."""
    found = shutil.which("node") or shutil.which("node", path=str(Path(sys.executable).parent))
    return None if found is None else Path(found)


def runtime_files() -> dict[str, bytes]:
    """Return the runtime's files by name, as a page loads them, and their licences.

    Raises:
        OutputError: The lean runtime was not built.
    """
    built("lean/lean.mjs.br", "the lean runtime is")
    files = {p.stem: brotli.decompress(p.read_bytes()) for p in sorted(_BUILT.glob("*.br"))}
    return files | {"LICENSES.txt": (_BUILT / "LICENSES.txt").read_bytes()}


def runtime_brotli() -> int:
    """Return the bytes in br-11 of what a page needs beside plan and weights."""
    return sum(path.stat().st_size for path in _BUILT.glob("*.br"))


def answers(cases: Sequence[Case], place: Place | None = None) -> list[Answer]:
    """Run cases in one process.

    Args:
        cases: The plans and their inputs.
        place: Where; Node where there is one, by default, because it starts faster. Chromium
            where there is none.

    Returns:
        One answer for each case; a plan that is refused is an answer, too.

    Raises:
        BrowserMissingError: There is neither Node nor a browser, or a package of the extra ``web``
            is missing.
        BrowserError: It crashed or hung.
        OutputError: The lean runtime was not built.
    """
    require()
    built("lean/node.mjs", "the lean runtime is")
    node = find_node()
    if place == "chromium" or node is None:
        return asyncio.run(_in_chromium(cases))
    return _in_node(node, cases)


def _in_node(node: Path, cases: Sequence[Case]) -> list[Answer]:
    with tempfile.TemporaryDirectory(prefix="sprat-lean-") as name:
        folder = Path(name)
        for i, case in enumerate(cases):
            (folder / str(i)).mkdir()
            for file, content in case.files().items():
                (folder / str(i) / file).write_bytes(content)
        entries = [case.entry(str(folder / str(i))) for i, case in enumerate(cases)]
        wasm = {k: str(_BUILT / f"{k}.wasm.br") for k in ("xnnpack", "helper")}
        (folder / "job.json").write_text(json.dumps({**wasm, "cases": entries}))
        said = _run([str(node), str(_BUILT / "node.mjs"), str(folder / "job.json")])
        return _read(said, "node", entries, lambda path: Path(path).read_bytes())


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_LIMIT)
    except subprocess.TimeoutExpired as error:
        raise BrowserError(f"Node took more than {_LIMIT:g} s.") from error
    except subprocess.CalledProcessError as error:
        said = str(error.stderr).strip().splitlines()
        raise BrowserError(f"Node crashed: {said[-1] if said else error.returncode}") from error
    return done.stdout


async def _in_chromium(cases: Sequence[Case]) -> list[Answer]:
    host = with_site(Host(accepts=("/lean-cases/",)))
    # Relative to the worker's script, which is in a folder of its own.
    entries = [case.entry(f"../lean-cases/{i}") for i, case in enumerate(cases)]
    for i, case in enumerate(cases):
        for file, content in case.files().items():
            host.add(f"/lean-cases/{i}/{file}", content)
    wasm = {k: f"./{k}.wasm" for k in ("xnnpack", "helper")}
    job = json.dumps({**wasm, "cases": entries})
    with serving(host):
        async with launched() as browser, browser.page() as page:
            await within(page.goto(f"{host.address}/prove.html"))
            said = str(await within(page.evaluate(_SCRIPT, job), _LIMIT))
    return _read(said, "chromium", entries, lambda path: host.received[path.removeprefix("..")])


def _read(
    said: str, place: Place, entries: list[dict[str, Any]], read: Callable[[str], bytes]
) -> list[Answer]:
    """Put results and outputs together."""
    from safetensors.numpy import load

    try:
        results: list[dict[str, Any]] = json.loads(said)
    except ValueError as error:
        raise BrowserError("the lean runtime answered what cannot be read.") from error
    found = []
    for entry, result in zip(entries, results, strict=True):
        if "error" in result:
            found.append(Answer(place, str(result["error"])))
        else:
            outputs = tuple(load(read(path)) for path in entry["outputs"])
            heaps = (result["heaps"][0], result["heaps"][1])
            found.append(Answer(place, "", outputs, heaps, result["milliseconds"] / 1000))
    return found
