"""Full disks, folders that cannot be written, and two runs into one folder."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from sprat.errors import OutputError
from sprat.files import alone_in
from sprat.model.load import load, save
from sprat.workflow.optimize import optimize
from tests.models import images, one_logit_cnn

#: Bytes that fit: too few for the work folder; for all but the report.
TIGHT, NEARLY = 8 << 10, 96 << 10


def sprat(
    *words: object, before: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sprat", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=before)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("disk")
    label = np.arange(24) % 2
    np.savez(folder / "data.npz", input=images(24), label=label)
    return save(one_logit_cnn(), folder / "model.onnx")


@contextmanager
def disk(folder: Path, size: int) -> Iterator[Callable[[], None] | None]:
    """Make a folder with room for ``size`` bytes, or, where none can be mounted, small files."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if os.getuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        return
    try:
        yield None
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def is_clear(done: subprocess.CompletedProcess[str], words: str) -> None:
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert words in errors[0]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("size", [TIGHT, NEARLY])
def test_optimize_on_a_full_disk(model: Path, tmp_path: Path, size: int) -> None:
    place = tmp_path / "small"
    with disk(place, size) as before:
        data = model.parent / "data.npz"
        words = ("optimize", model, "--data", data, "--out", place / "out", "--minutes", "0.01")
        budget = ("--max-drop", "50")  # the labels are random: a budget would show nothing
        is_clear(sprat(*words, *budget, before=before), "cannot be written")
        left = {path.name for path in (place / "out").iterdir()} - {".work"}
        assert left <= {"model.onnx", "sprat.toml", "history.jsonl"}
        if "model.onnx" in left:
            load(place / "out/model.onnx")


def test_bundle_on_a_full_disk(model: Path, tmp_path: Path) -> None:
    place = tmp_path / "small"
    with disk(place, NEARLY) as before:
        done = sprat("bundle", model, "--out", place / "site", before=before)
        is_clear(done, "cannot be written")
        assert not list(place.iterdir())


@pytest.mark.parametrize(
    "words", [("inspect", "MODEL"), ("inspect", "MODEL", "--json"), ("--help",)]
)
def test_an_answer_that_has_no_room(model: Path, words: tuple[str, ...]) -> None:
    done = without_variables("> /dev/full", model, *words)
    is_clear(done, "the output, or the temporary folder: cannot be written (No space left")


def test_an_answer_that_nobody_wants(model: Path) -> None:
    is_clear(without_variables(">&-", model, "inspect", "MODEL"), "standard output: is closed")


@pytest.mark.parametrize("words", [("inspect", "MODEL"), ("inspect", "MODEL", "--json")])
def test_an_answer_that_nobody_reads(model: Path, words: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = without_variables("", model, *words, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("place", ["/dev/full", "&-"])
def test_an_error_that_cannot_be_told(model: Path, place: str) -> None:
    done = without_variables(f"2>{place}", model, "inspect", "none.onnx")
    assert (done.returncode, done.stdout) == (2, "")


def without_variables(
    streams: str, model: Path, *words: str, stdout: int = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    """Run a command with some of its streams elsewhere, and nothing in the environment.

    ``PYTHONUNBUFFERED`` would hide what is left in a buffer at the end.
    """
    told = [str(model) if word == "MODEL" else word for word in words]
    command = ["sh", "-c", f'exec "$@" {streams}', "sh", sys.executable, "-m", "sprat", *told]
    env = {key: os.environ[key] for key in ("HOME", "PATH", "PYTHONPATH") if key in os.environ}
    return subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, env=env
    )


@pytest.mark.parametrize("command", ["simplify", "optimize", "bundle"])
def test_where_nobody_may_write(model: Path, command: str) -> None:
    data = ("--data", model.parent / "data.npz") if command == "optimize" else ()
    is_clear(sprat(command, model, *data, "--out", "/sys/sprat/out"), "cannot be written")


def test_two_runs_into_one_folder_do_not_mix(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sprat.files._PATIENCE", 0.0)
    with alone_in(tmp_path), pytest.raises(OutputError, match="another run writes here"):
        optimize(model, model.parent / "data.npz", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".work"]


def test_a_killed_run_keeps_nobody_out(tmp_path: Path) -> None:
    holding = (
        "import os, signal, sys, pathlib\n"
        "from sprat.files import alone_in\n"
        "with alone_in(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", holding, tmp_path], check=False)
    assert (tmp_path / ".work/lock").exists()
    with alone_in(tmp_path):
        pass
