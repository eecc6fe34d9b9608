"""A command whose native code dies says so, and one that is ended ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

#: Runs the command line with ``inspect`` replaced by other code.
_RUN = """
import ctypes, os, signal, sys
import sprat.cli.commands.inspect as command

def work(model, **options):
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


def test_nohup_is_respected() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what is started inherits it
    try:
        with running("print('here', flush=True); signal.sigwait([signal.SIGUSR1])") as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "here\n"
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGINT)
            assert process.wait() == 130
    finally:
        signal.signal(signal.SIGHUP, before)


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


#: Native code that never returns to the interpreter: no signal handler of Python can run.
_DEAF = "sum(range(1 << 60))"
_ENDS_ITSELF = "from sprat.cli import screen; own = screen.interruptible(); own.__enter__(); "


@pytest.mark.parametrize(
    ("before", "presses"), [("", 1), (_ENDS_ITSELF, 1), (_ENDS_ITSELF, 2)], ids=str
)
def test_ctrl_c_ends_native_code_and_all_that_it_started(before: str, presses: int) -> None:
    work = (
        f"{before}import subprocess, tempfile; "
        "inner = subprocess.Popen(['sleep', '60'], start_new_session=True); "
        f"print(inner.pid, tempfile.mkdtemp(), flush=True); {_DEAF}"
    )
    with running(work) as process:
        assert process.stdout is not None
        pid, folder = process.stdout.readline().split()
        inner = psutil.Process(int(pid))
        for _ in range(presses):
            process.send_signal(signal.SIGINT)
        start = time.monotonic()
        out, err = process.communicate(timeout=30)
        assert time.monotonic() - start < 5
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1] == "Interrupted. Nothing is half-written; the same command goes on."
    assert "Traceback" not in err
    assert not inner.is_running()
    assert not Path(folder).parent.exists()


@pytest.mark.parametrize(
    ("variable", "work", "said"),
    [
        ("SPRAT_MAX_LOAD_SECONDS", _DEAF, "takes more than 0.1 s."),
        (
            "SPRAT_MAX_LOAD_MEMORY",
            "large = b'x' * (1 << 29); signal.pause()",
            "takes more than 0.1 GB of memory.",
        ),
    ],
)
def test_a_step_that_exceeds_its_limits_is_ended(
    variable: str, work: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "0.1")
    begin = "step = __import__('sprat').limits.limited('opening the model', 'm.onnx', 0)"
    with running(f"import sprat.limits; {begin}; step.__enter__(); {work}") as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.startswith(f"Error: m.onnx: opening the model {said}\nIf you trust the model, raise")


def test_a_command_that_is_ended_midway_leaves_no_unfinished_file(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("old")
    work = (
        "from pathlib import Path; from sprat.files import write_atomic; "
        "os.fsync = lambda _: (print('writes', flush=True), signal.pause()); "
        f"write_atomic(Path({str(tmp_path / 'kept.txt')!r}), 'new')"
    )
    with running(work) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writes\n"
        assert len(list(tmp_path.iterdir())) == 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == -signal.SIGTERM
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_the_users_browser_does_not_end_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, started = tmp_path / "browser", tmp_path / "started"
    browser.write_text(f"#!/bin/sh\necho $$ $1 > {started}.part; mv {started}.part {started}\n")
    with browser.open("a") as file:
        file.write("exec sleep 60\n")
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    work = (
        "from sprat.cli import screen; screen.open_page('http://127.0.0.1:1/'); "
        "print('here', flush=True); signal.pause()"
    )
    with running(work) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        end = time.monotonic() + 20
        while not started.exists():
            assert time.monotonic() < end
            time.sleep(0.01)
        pid, address = started.read_text().split()
        opened = psutil.Process(int(pid))
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    assert address == "http://127.0.0.1:1/"
    assert opened.is_running()
    opened.kill()


def test_a_killed_command_leaves_no_work_behind() -> None:
    with running("print(os.getpid(), flush=True); signal.pause()") as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) != process.pid
        process.kill()
        assert process.stdout.read() == ""  # the pipe ends with the last process that holds it
