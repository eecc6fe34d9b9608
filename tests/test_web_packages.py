"""Without the packages of the extra ``web``: what needs them says so, all else works."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sprat
from sprat.browser.extra import require
from sprat.browser.static import serving_folder
from sprat.errors import BrowserMissingError, PackageMissingError
from sprat.model.load import load
from sprat.workflow.bundle import bundle
from sprat.workflow.compile import Trial, tried

EXAMPLE = Path(__file__).parents[1] / "examples" / "doodles"
MODEL, DATA = EXAMPLE / "doodles.onnx", EXAMPLE / "data"
PACKAGES = ("playwright", "psutil", "safetensors", "starlette", "uvicorn")


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PACKAGES:
        monkeypatch.setitem(sys.modules, name, None)


def serve(out: Path) -> None:
    with serving_folder(out, {}):
        pass


def tryout(_: Path) -> None:
    with sprat.tryout(MODEL, MODEL, DATA):
        pass


@pytest.mark.usefixtures("without")
@pytest.mark.parametrize(
    "ask",
    [
        serve,
        tryout,
        lambda out: sprat.compile(MODEL, out),
        lambda out: sprat.bundle(MODEL, out, data=DATA, runtime="lean"),
        lambda _: sprat.prove(MODEL, plan=sprat.Plan(samples=1, networks=())),
    ],
    ids=["serve", "try", "compile", "bundle", "prove"],
)
def test_what_needs_them_says_what_to_install(ask: Callable[[Path], Any], tmp_path: Path) -> None:
    with pytest.raises(PackageMissingError, match=r"pip install '\.\[web\]'") as caught:
        ask(tmp_path / "out")
    assert " and ".join(PACKAGES) in str(caught.value)
    assert isinstance(caught.value, BrowserMissingError)


@pytest.mark.parametrize("name", PACKAGES)
def test_each_of_them_is_asked_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    require()
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PackageMissingError, match=f"needs {name}, which is not installed"):
        require()


@pytest.mark.usefixtures("without")
def test_what_goes_on_without_a_browser_goes_on_without_them(tmp_path: Path) -> None:
    told: list[str] = []
    made = bundle(MODEL, tmp_path / "site", data=DATA, tell=told.append)
    assert made.runtime.kind == "ort"
    assert "pip install '.[web]'" in told[0]
    assert tried(MODEL, load(MODEL), Trial()) is None


def test_the_command_ends_with_exit_code_2(tmp_path: Path) -> None:
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({PACKAGES!r})); "
        "from sprat.cli import main; sys.argv[0] = 'sprat'; main()"
    )
    words = ["compile", str(MODEL), "--out", str(tmp_path)]
    command = [sys.executable, "-c", script, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install '.[web]'" in done.stderr
