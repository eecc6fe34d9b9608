"""The examples in each ``--help``: all are understood, and those that end soon are run."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from sprat.cli.app import app

EXAMPLE = Path(__file__).parents[1] / "examples/doodles"
COMMANDS: Any = typer.main.get_command(app)
#: The others search, teach, time, serve or open a browser; tests of their own run them.
QUICK = ("inspect", "simplify", "history")


def examples() -> Iterator[str]:
    for command in COMMANDS.commands.values():
        text = (command.help or "").replace("\\\n", " ")
        yield from (line.strip() for line in text.splitlines() if line.strip().startswith("sprat "))


def is_quick(example: str) -> bool:
    words = example.split()
    return "--dry-run" in words or words[1] in QUICK


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the names of the examples mean something."""
    folder = tmp_path_factory.mktemp("examples")
    shutil.copy(EXAMPLE / "doodles.onnx", folder / "model.onnx")
    shutil.copy(EXAMPLE / "sprat.toml", folder / "sprat.toml")
    for classes in sorted((EXAMPLE / "data").glob("*/*")):
        few = folder / "photos" / classes.relative_to(EXAMPLE / "data")
        few.mkdir(parents=True)
        for picture in sorted(classes.iterdir())[:5]:
            shutil.copy(picture, few)
    (folder / "doodles").symlink_to(folder / "photos")
    for name in ("small/model.onnx", "small.onnx", "tiny.onnx", "detector.onnx", "tensors.npz"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(EXAMPLE / "doodles.onnx", folder / name)
    (folder / "small/history.jsonl").write_text(
        '{"date": "2026-01-01T00:00:00+00:00", "operation": "prove", "result": "loads"}\n'
    )
    for name in ("site", "tuned", "node_modules/onnxruntime-web/dist"):
        (folder / name).mkdir(parents=True)
    (folder / "tuned/sprat.toml").write_text("")
    return folder


@pytest.mark.parametrize("example", sorted(set(examples())))
def test_an_example_is_understood(
    example: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    words = shlex.split(example)[1:]
    assert COMMANDS.commands[words[0]].make_context(words[0], words[1:]).params
    if is_quick(example):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
