"""Wheel and source package: built, complete, and the wheel answers where nothing else of us is."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import brotli
import pytest

import sprat
from sprat.files import sha256

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "examples/doodles/doodles.onnx"


def run(*command: object, cwd: Path, **more: str) -> str:
    words = [str(word) for word in command]
    environment = {**os.environ, **more}
    done = subprocess.run(
        words, cwd=cwd, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-d", folder, cwd=ROOT)
    return folder


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_what_it_needs_and_nothing_else(built: Path) -> None:
    found = names(next(built.glob("*.whl")))
    needed = (
        *("sprat/py.typed", "sprat/report/templates/report.html.j2"),
        *(f"sprat/browser/site/{name}" for name in ("prove.html", "page.html", "loader.js")),
        "sprat/browser/site/runtime/ort-wasm-simd-threaded.wasm.br",
        "sprat/browser/site/lean/xnnpack.wasm.br",
    )
    assert set(needed) <= found
    assert {name.split("/")[0] for name in found} == {"sprat", "sprat-0.1.0.dist-info"}
    assert not [
        name
        for name in found
        if name.endswith((".onnx", ".png", ".npz", ".map")) and "site/icon-" not in name
    ]


def test_the_wheel_says_under_which_licences_its_foreign_files_are(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as archive:
        found = archive.namelist()
        texts = [archive.read(n).decode() for n in found if "/licenses/" in n]
        lists = [json.loads(archive.read(n)) for n in found if n.endswith("/runtime.json")]
    assert len(texts) == 3
    assert len(lists) == 2
    for foreign in lists:
        assert any(foreign["package"] in text for text in texts)
        assert {"version", "license", "files"} <= foreign.keys()


def test_the_wheel_lists_what_is_in_it_that_is_not_ours(built: Path) -> None:
    script = runpy.run_path(str(ROOT / "docs/sbom.py"))
    with zipfile.ZipFile(next(built.glob("*.whl"))) as archive:
        (name,) = (n for n in archive.namelist() if ".dist-info/sboms/" in n)
        listed = archive.read(name).decode()
        assert listed == script["text"](), "run 'python docs/sbom.py'"
        files = [f for c in json.loads(listed)["components"] for f in c["components"]]
        for file in (f for f in files if f["type"] == "file"):
            content = brotli.decompress(archive.read(f"{file['name']}.br"))
            assert sha256(content) == file["hashes"][0]["content"]


def test_there_is_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    web = json.loads((ROOT / "web/package.json").read_text())
    assert project["version"] == web["version"] == sprat.__version__


def test_the_source_package_makes_the_same_wheel(built: Path, tmp_path: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    source = next(tmp_path.iterdir())
    assert not (source / "examples/doodles/data").exists()
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, cwd=source)
    assert names(next(tmp_path.glob("*.whl"))) == names(next(built.glob("*.whl")))


def test_the_installed_wheel_inspects(built: Path, tmp_path: Path) -> None:
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index")
    wheel = next(built.glob("*.whl"))
    run(*pip, "--target", tmp_path / "here", wheel, cwd=tmp_path)
    place = {"PYTHONPATH": str(tmp_path / "here")}
    where = run(sys.executable, "-c", "import sprat; print(sprat.__file__)", cwd=tmp_path, **place)
    assert where.startswith(str(tmp_path))
    assert "340,489" in run(sys.executable, "-m", "sprat", "inspect", MODEL, cwd=tmp_path, **place)
