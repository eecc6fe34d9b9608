"""A command whose native code dies says so, and one that is ended ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
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
    # A group of its own, as a shell's job: only such a one can be stopped.
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, process_group=0) as process:
        try:
            yield process
        finally:
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


def states(processes: list[psutil.Process], wanted: set[str]) -> set[str]:
    """The processes' states, once they are as wanted; else after ten seconds."""
    end = time.monotonic() + 10
    while True:
        found = {str(p.status()) for p in processes}
        if found == wanted or time.monotonic() > end:
            return found
        time.sleep(0.01)


def test_ctrl_z_stops_the_work_until_it_is_to_go_on() -> None:
    work = (
        "import subprocess; inner = subprocess.Popen(['sleep', '60']); "
        "print(os.getpid(), inner.pid, flush=True); signal.sigwait([signal.SIGUSR1]); "
        "inner.kill(); inner.wait(); print('went on', flush=True); os._exit(0)"
    )
    with running(f"signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]); {work}") as process:
        assert process.stdout is not None
        numbers = map(int, process.stdout.readline().split())
        group = [psutil.Process(number) for number in (process.pid, *numbers)]
        for _ in range(2):
            process.send_signal(signal.SIGTSTP)
            assert states(group, {psutil.STATUS_STOPPED}) == {psutil.STATUS_STOPPED}
            process.send_signal(signal.SIGCONT)
            assert states(group, {psutil.STATUS_SLEEPING}) == {psutil.STATUS_SLEEPING}
        group[1].send_signal(signal.SIGUSR1)
        assert process.stdout.readline() == "went on\n"
        assert process.wait(10) == 0


def test_a_killed_command_leaves_no_work_behind() -> None:
    with running("print(os.getpid(), flush=True); signal.pause()") as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) != process.pid
        process.kill()
        assert process.stdout.read() == ""  # the pipe ends with the last process that holds it
