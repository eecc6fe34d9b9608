"""A stranger's ``sprat.toml``: it names files below its own folder, and code only once trusted."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from sprat.cli.app import app
from sprat.data.labels import alike, listed_classes
from sprat.data.options import DataOptions, read_file, read_options
from sprat.data.trust import check_trusted, risks, trust
from sprat.errors import OptionError
from sprat.model.load import save
from tests.networks import mlp

OUTSIDE = [
    "/etc/hostname",
    "../secret.txt",
    "inside/../../secret.txt",
    "link.txt",
    "folder/secret.txt",
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, a stranger's, with a model, data, and what lies outside."""
    place = tmp_path / "theirs"
    (place / "inside").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("word\nother\n")
    (place / "link.txt").symlink_to(tmp_path / "secret.txt")
    (place / "folder").symlink_to(tmp_path)
    save(mlp(), place / "model.onnx")
    np.savez(place / "data.npz", allow_pickle=False, x=np.ones((20, 32), np.float32))
    monkeypatch.chdir(place)
    return place


def named(folder: Path, text: str) -> DataOptions:
    (folder / "sprat.toml").write_text(text)
    return read_options(folder / "model.onnx", None)


@pytest.mark.parametrize("name", OUTSIDE)
def test_labels_lie_below_the_file_that_names_them(name: str, folder: Path) -> None:
    with pytest.raises(OptionError, match="is not below the folder of this file") as caught:
        named(folder, f"[data]\nlabels = '{name}'\n")
    assert caught.value.where == str(folder / "sprat.toml")
    assert "word" not in str(caught.value)
    with pytest.raises(OptionError, match="is not below"):
        read_file(folder / "sprat.toml")


def test_labels_below_the_file_are_read(folder: Path) -> None:
    (folder / "inside/names.txt").write_text("cat\ndog\n")
    found = named(folder, "[data]\nlabels = 'inside/names.txt'\n")
    assert listed_classes(found) == ("cat", "dog")


def test_a_pipe_of_labels_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe.txt")
    found = named(folder, "[data]\nlabels = 'pipe.txt'\n")
    with pytest.raises(OptionError, match="is not a file"):
        listed_classes(found)


def test_a_circle_of_links_is_one_error(folder: Path) -> None:
    (folder / "a.txt").symlink_to("b.txt")
    (folder / "b.txt").symlink_to("a.txt")
    with pytest.raises(OptionError):
        listed_classes(named(folder, "[data]\nlabels = 'a.txt'\n"))


@pytest.mark.parametrize("text", ["[data]\nmean = " + "[" * 5000, "a" + ".a" * 5000 + " = 1"])
def test_brackets_without_end_are_one_error(text: str, folder: Path) -> None:
    with pytest.raises(OptionError):
        named(folder, text)


METRIC = """
import pathlib

pathlib.Path("ran").touch()


def score(outputs, labels):
    return [1.0] * len(outputs["y"])
"""


def compared(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "sprat", "compare", "model.onnx", "model.onnx"]
    return subprocess.run(
        [*command, "--data", "data.npz", "--json", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_code_of_a_found_file_runs_once_it_is_trusted(folder: Path) -> None:
    (folder / "theirs.py").write_text(METRIC)
    (folder / "sprat.toml").write_text('[output]\nmetric = "theirs:score"\n')
    done = compared(folder)
    assert done.returncode == 2
    assert "sets 'metric', which may run code" in done.stderr
    assert "--trust, once" in done.stderr
    assert not (folder / "ran").exists()
    done = compared(folder, "--trust")
    assert done.returncode == 0, done.stderr
    assert '"theirs:score"' in done.stdout
    assert (folder / "ran").exists()
    assert compared(folder).returncode == 0, "it is remembered"
    (folder / "theirs.py").write_text(METRIC + "# changed\n")
    assert compared(folder).returncode == 2, "another file was trusted"


def test_a_metric_of_the_command_line_is_the_users_own_word(folder: Path) -> None:
    (folder / "theirs.py").write_text(METRIC)
    (folder / "mine.py").write_text(METRIC)
    (folder / "sprat.toml").write_text('[output]\nmetric = "theirs:score"\n')
    done = compared(folder, "--metric", "mine:score")
    assert done.returncode == 0, done.stderr
    assert '"mine:score"' in done.stdout


@pytest.mark.parametrize(
    ("table", "keys"),
    [
        ('student = "evil:net"', ["student"]),
        ('study = "postgresql://evil/x"', ["study"]),
        ('labels = "/etc/passwd"', ["labels"]),
        ('out = "/home/me"', ["out"]),
        ('weights = "theirs.pt"', ["weights"]),
        ('width = "0.25:0.75"\nweights = "imagenet"\nstudent = "resnet18"', []),
    ],
)
def test_what_a_table_of_a_command_needs_trust_for(
    table: str, keys: list[str], folder: Path
) -> None:
    import tomllib

    found = risks(tomllib.loads(table))
    assert found == keys
    (folder / "sprat.toml").write_text(f"[tune]\n{table}\n")
    words = ["tune", "model.onnx", "--data", "none.npz", "--trials", "1"]
    done = CliRunner().invoke(app, [*words, *([] if keys == ["out"] else ["--out", "out"])])
    assert isinstance(done.exception, Exception)
    assert ("is not trusted" in str(done.exception)) == bool(keys)


@pytest.mark.parametrize("command", ["distill", "tune"])
@pytest.mark.parametrize("line", ["trust = true", "config = 'other.toml'"])
def test_a_file_does_not_trust_itself(command: str, line: str, folder: Path) -> None:
    (folder / "sprat.toml").write_text(f"[{command}]\nstudent = 'evil:net'\n{line}\n")
    words = [command, "model.onnx", "--data", "none.npz", "--out", "out"]
    for more in ([], ["--config", "sprat.toml"]):
        done = CliRunner().invoke(app, [*words, *more])
        assert isinstance(done.exception, OptionError)
        assert f"sets {line.split(maxsplit=1)[0]!r}" in str(done.exception)
        assert done.exception.where == "sprat.toml"
    with pytest.raises(OptionError, match="not trusted"):
        check_trusted(folder / "sprat.toml", ["student"])


def test_only_the_command_line_gives_trust(folder: Path) -> None:
    (folder / "theirs.py").write_text(METRIC)
    (folder / "sprat.toml").write_text('[output]\nmetric = "theirs:score"\n')
    words = ["compare", "model.onnx", "model.onnx", "--data", "none.npz"]
    done = CliRunner().invoke(app, words, default_map={"compare": {"trust": True}})
    assert isinstance(done.exception, Exception)
    with pytest.raises(OptionError, match="not trusted"):
        check_trusted(folder / "sprat.toml", ["metric"])
    CliRunner().invoke(app, [*words, "--trust"])
    check_trusted(folder / "sprat.toml", ["metric"])


def test_trust_is_of_a_path_and_its_content(folder: Path) -> None:
    path = folder / "sprat.toml"
    path.write_text("[tune]\nstudent = 'pack.nets:small'\n")
    (folder / "pack").mkdir()
    (folder / "pack/__init__.py").write_text("")
    trust(Path("sprat.toml"))
    check_trusted(path, ["student"])
    copy = folder / "inside/sprat.toml"
    copy.write_text(path.read_text())
    for change in (
        (folder / "pack/nets.py", "x = 1"),
        (folder / "pack/__init__.py", "x = 1"),
        (path, "[tune]\nstudent = 'pack.nets:large'\n"),
    ):
        trust(path)
        check_trusted(path, ["student"])
        change[0].write_text(change[1])
        with pytest.raises(OptionError, match="not trusted"):
            check_trusted(path, ["student"])
    with pytest.raises(OptionError, match="not trusted"):
        check_trusted(copy, ["student"])


def test_a_list_of_trust_that_cannot_be_read_trusts_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    path = folder / "sprat.toml"
    path.write_text("[tune]\nstudent = 'a:b'\n")
    trust(path)
    check_trusted(path, ["student"])
    for content in (b"\xff", b"[" * 100_000, b"[]", b'{"x": 3}'):
        (folder / "state/sprat/trusted.json").write_bytes(content)
        with pytest.raises(OptionError, match="not trusted"):
            check_trusted(path, ["student"])


def test_names_that_look_alike_are_told() -> None:
    composed = unicodedata.normalize("NFC", "caf\u00e9")
    apart = unicodedata.normalize("NFD", composed)
    (note,) = alike([composed, apart, "tea"])
    assert "WARNING: the classes" in note
    assert "look alike" in note
    assert alike(["a\u200bb", "a\u200cb"])
    assert alike(["cat", "dog"]) == ()
