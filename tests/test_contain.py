"""A command whose native code dies says so, and one that is ended ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

#: Runs the command line with ``inspect`` replaced by other code.
_RUN = """
import ctypes, os, signal, sys
import sprat.cli.commands.inspect as command

def work(model, exact=False, progress=None):
    {work}

import sprat.cli.contain as contained
before = contained.contain

def contain():
    before()
    import sprat.model.inspect
    sprat.model.inspect.inspect = work

contained.contain = contain
sys.argv = ["sprat", "inspect", "model.onnx"]
from sprat.cli import main
main()
"""


@contextmanager
def running(work: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _RUN.format(work=work)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        yield process
        process.kill()


@pytest.mark.parametrize(
    ("work", "said"),
    [
        ("ctypes.string_at(0)", "SIGSEGV"),
        ("os.abort()", "SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGFPE)", "SIGFPE"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "was killed"),
        ("bytearray(1 << 60)", "memory ran out"),
    ],
)
def test_native_code_that_dies_is_one_clear_error(work: str, said: str) -> None:
    with running(work) as process:
        out, err = process.communicate()
    assert process.returncode == 3, err
    assert said in err
    assert err.lstrip().startswith("Error: ")
    assert len(err.strip().splitlines()) == 2
    assert not out


@pytest.mark.parametrize(
    ("blow", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)]
)
def test_a_signal_reaches_the_work(blow: signal.Signals, code: int) -> None:
    with running("print('here', flush=True); signal.pause()") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(blow)
        assert process.wait() == code


def test_a_killed_command_leaves_no_work_behind() -> None:
    with running("print(os.getpid(), flush=True); signal.pause()") as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) != process.pid
        process.kill()
        assert process.stdout.read() == ""  # the pipe ends with the last process that holds it
