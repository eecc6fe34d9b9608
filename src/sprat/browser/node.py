"""Lean plans in Node: the same engine as Chromium's, started in a tenth of a second."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sprat.browser.host import SITE
from sprat.errors import BrowserError, BrowserMissingError
from sprat.model.session import Feeds, Outputs

#: Seconds that one list of cases may take.
_LIMIT = 600.0
_LEAN = SITE / "lean"


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


@dataclass(frozen=True)
class Answer:
    """What the runtime made of a case.

    Attributes:
        error: What it said where it refused; empty where it ran.
        outputs: The outputs of each run.
        heaps: Bytes of memory after loading, and at the end.
    """

    error: str = ""
    outputs: tuple[Outputs, ...] = ()
    heaps: tuple[int, int] = (0, 0)


def find_node() -> Path | None:
    """Return Node of the system, or the one that PyPI's package put beside this Python."""
    found = shutil.which("node") or shutil.which("node", path=str(Path(sys.executable).parent))
    return None if found is None else Path(found)


def answers(cases: Sequence[Case]) -> list[Answer]:
    """Run cases in one process of Node.

    Args:
        cases: The plans and their inputs.

    Returns:
        One answer for each case; a plan that is refused is an answer, too.

    Raises:
        BrowserMissingError: There is no Node, or the lean runtime was not built.
        BrowserError: Node crashed or hung.
    """
    node = find_node()
    if node is None or not (_LEAN / "node.mjs").is_file():
        raise BrowserMissingError(
            "the lean runtime cannot run here: there is no Node, or it was not built.",
            hint="Install Node 20.19 or later, and run 'make web' in a checkout.",
        )
    with tempfile.TemporaryDirectory(prefix="sprat-lean-") as name:
        folder = Path(name)
        job = folder / "job.json"
        entries = [_written(case, folder / str(i)) for i, case in enumerate(cases)]
        wasm = {k: str(_LEAN / f"{k}.wasm.br") for k in ("xnnpack", "helper")}
        job.write_text(json.dumps({**wasm, "cases": entries}))
        found = _run([str(node), str(_LEAN / "node.mjs"), str(job)])
        return [_read(entry, result) for entry, result in zip(entries, found, strict=True)]


def _run(command: list[str]) -> list[dict[str, Any]]:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=_LIMIT
        )
        found: list[dict[str, Any]] = json.loads(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise BrowserError(f"Node took more than {_LIMIT:g} s.") from error
    except subprocess.CalledProcessError as error:
        said = str(error.stderr).strip().splitlines()
        raise BrowserError(f"Node crashed: {said[-1] if said else error.returncode}") from error
    except ValueError as error:
        raise BrowserError("Node answered what cannot be read.") from error
    return found


def _written(case: Case, folder: Path) -> dict[str, Any]:
    """Write a case's files; returns its entry in the job."""
    from safetensors.numpy import save

    folder.mkdir()
    (folder / "plan.json").write_text(case.plan, encoding="utf-8")
    (folder / "weights.bin").write_bytes(case.weights)
    names = [f"{i}.safetensors" for i in range(len(case.feeds))]
    for name, feeds in zip(names, case.feeds, strict=True):
        (folder / name).write_bytes(save({k: np.array(v, order="C") for k, v in feeds.items()}))
    return {
        "plan": str(folder / "plan.json"),
        "weights": str(folder / "weights.bin"),
        "feeds": [str(folder / n) for n in names],
        "outputs": [str(folder / f"out-{n}") for n in names],
        "repeat": case.repeat,
    }


def _read(entry: dict[str, Any], result: dict[str, Any]) -> Answer:
    from safetensors.numpy import load_file

    if "error" in result:
        return Answer(str(result["error"]))
    before, after = result["heaps"]
    return Answer("", tuple(load_file(path) for path in entry["outputs"]), (before, after))
