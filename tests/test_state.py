"""One folder of the user's for what Sprat keeps, and commands where POSIX has no part."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sprat import sealed
from sprat.crew import gather
from sprat.data.trust import check_trusted, trust
from sprat.errors import OptionError, OutputError
from sprat.model.load import save
from sprat.sealed import write_sealed
from tests.networks import mlp


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "home"
    place.mkdir()
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.chdir(tmp_path)
    sealed._key.cache_clear()
    return place


@pytest.mark.parametrize(
    ("platform", "below"),
    [
        ("linux", ".local/state/sprat"),
        ("darwin", "Library/Application Support/sprat"),
        ("win32", "AppData/Local/sprat"),
    ],
)
def test_key_and_trust_lie_in_one_folder(
    platform: str, below: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    (tmp_path / "sprat.toml").write_text("[tune]\nstudent = 'a:b'\n")
    trust(tmp_path / "sprat.toml")
    write_sealed(tmp_path / "work/entry", b"x")
    assert {path.name for path in (home / below).iterdir()} == {"key", "trusted.json"}
    assert not (tmp_path / "relative").exists()


def test_without_a_home_nothing_is_trusted_and_no_folder_is_made(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", "~")  # as where neither the environment nor the system names one
    path = tmp_path / "sprat.toml"
    path.write_text("[tune]\nstudent = 'a:b'\n")
    with pytest.raises(OptionError, match="no home"):
        trust(path)
    with pytest.raises(OptionError, match="not trusted"):
        check_trusted(path, ["student"])
    write_sealed(tmp_path / "work/entry", b"x")
    assert not (tmp_path / "~").exists()


def test_what_a_killed_run_left_is_explained_where_no_key_can_be_kept(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    gather._claim(tmp_path / "crew")
    sealed._key.cache_clear()  # another process
    with pytest.raises(OutputError, match="not Sprat's") as caught:
        gather._claim(tmp_path / "crew")
    assert str(tmp_path / "file") in caught.value.hint
    assert "cannot be kept" in caught.value.hint


def test_a_model_is_not_saved_in_place_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "own.onnx").write_bytes(b"mine")
    (tmp_path / "link.onnx").symlink_to("own.onnx")
    with pytest.raises(OutputError, match="is a link"):
        save(mlp(), tmp_path / "link.onnx")
    assert (tmp_path / "link.onnx").is_symlink()
    assert (tmp_path / "own.onnx").read_bytes() == b"mine"


WITHOUT_POSIX = """
import os, sys, warnings
from pathlib import Path

sys.modules["fcntl"] = None
warnings.simplefilter("ignore", UserWarning)  # of filelock, which knows Windows by itself
for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_DIRECTORY"):
    delattr(os, name)

import sprat.cli.commands.bundle, sprat.cli.commands.optimize
from sprat.files import read_plain
from sprat.output import OutputFolder
from sprat.record.history import append, read
from sprat.record.schema import LogEntry

here = Path.cwd()
for text in (b"one\\r\\n", b"two\\n"):
    OutputFolder(here / "out", "test").write({"a.txt": text})
    assert read_plain(here / "out/a.txt") == text
for _ in range(2):
    append(here / "out", LogEntry(date="", operation="a", result="b"))
assert len(read(here / "out")) == 2
(here / "link").symlink_to(here / "out/a.txt")
try:
    read_plain(here / "link")
except OSError:
    print("refused")
"""


def test_results_are_written_where_there_is_no_fcntl(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_POSIX],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "refused\n"
