"""What the parent does while the command works: end it when asked, and within its limits."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from sprat.cli import processes

INTERRUPTED = "Interrupted. Nothing is half-written; the same command goes on."
#: Asked for by the user or the system, and seen to by the parent.
HANDLED = (
    (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
    if hasattr(signal, "SIGHUP")
    else ()
)
#: Ctrl-Z stops the child's group as well.
STOPS = (signal.SIGTSTP,) if hasattr(signal, "SIGTSTP") else ()
OUT_OF_MEMORY = "Give fewer samples (--limit) or a smaller model."
#: Seconds that a command may take to end by itself where it has asked for that.
GRACE = 2.5
#: Seconds between two looks at the clock and at memory, where something is limited.
_TICK = 0.2
#: Seconds beyond a limit in which the child may say so itself: it knows more.
_LATE = 2.0


@dataclass
class _Stage:
    """A step of the command that has limits: see ``sprat.limits``.

    Attributes:
        said: The message that began it.
        before: Bytes of memory at its begin.
        spent: Seconds in it, those left out in which the command was stopped.
    """

    said: dict[str, Any]
    before: int
    spent: float = 0.0


class Supervision:
    """Waits for a command and ends this process as the command ended.

    Args:
        child: The process that the command runs in, leader of a group.
        line: A pipe that it sends messages through: see ``sprat.supervisor``.
        folder: Its temporary files, removed at the end; None where it has none.
    """

    def __init__(self, child: int, line: int, folder: Path | None) -> None:
        self._child = child
        self._line = line
        self._folder = folder
        self._rest = b""
        self._stages: dict[int, _Stage] = {}
        self._exceeded: tuple[str, _Stage] | None = None
        self._ends_itself = False
        self._left: float | None = None
        self._cause: signal.Signals | None = None
        self._code: int | None = None

    def run(self, blocked: Iterable[signal.Signals]) -> NoReturn:
        """Wait for the end; the given signals are unblocked once they are handled."""
        woken, wakes = os.pipe()
        for end in (woken, wakes):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        for number in HANDLED:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, _note)
        for number in STOPS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
        while self._code is None:
            self._step(woken)
        self._end()

    def _step(self, woken: int) -> None:
        """Wait for a signal, a message, or the next look at the limits."""
        limited = bool(self._stages) or self._left is not None
        start = time.monotonic()
        lines = [woken] if self._line < 0 else [woken, self._line]
        ready, _, _ = select.select(lines, [], [], _TICK if limited else None)
        if self._line in ready:
            self._hear()
        if woken in ready:
            for number in os.read(woken, 512):
                self._signalled(signal.Signals(number))
        # A process that was stopped (Ctrl-Z) did not work meanwhile.
        self._count(min(time.monotonic() - start, 2 * _TICK))

    def _signalled(self, number: signal.Signals) -> None:
        if number == signal.SIGCHLD:
            self._code = processes.reap().get(self._child, self._code)
        elif number == signal.SIGINT and self._ends_itself and self._cause is None:
            self._cause, self._left = number, GRACE
            with suppress(ProcessLookupError):
                os.kill(self._child, signal.SIGINT)
        elif number in HANDLED:
            self._cause = self._cause or number
            self._kill()

    def _kill(self) -> None:
        """End the command and all that it started, before one can tell of the other's death."""
        with suppress(ProcessLookupError):
            os.kill(self._child, signal.SIGSTOP)
        processes.kill_all(reversed(processes.descendants(os.getpid())))  # the child is the last
        self._left = None

    def _count(self, seconds: float) -> None:
        """Hold the command against its limits, so many seconds after the last time."""
        if self._left is not None:
            self._left -= seconds
            if self._left <= 0:
                self._kill()
        if not self._stages:
            return
        memory = processes.resident_bytes(self._child)
        for stage in self._stages.values():
            stage.spent += seconds
            if stage.spent > stage.said["seconds"] + _LATE:
                self._exceed("seconds", stage)
            elif memory - stage.before > 1e9 * stage.said["memory"]:
                self._exceed("memory", stage)

    def _exceed(self, what: str, stage: _Stage) -> None:
        self._exceeded = self._exceeded or (what, stage)
        self._kill()

    def _hear(self) -> None:
        """Take in the messages that have come."""
        came = os.read(self._line, 1 << 16)
        if not came:
            os.close(self._line)
            self._line = -1
        *whole, self._rest = (self._rest + came).split(b"\n")
        for message in whole:
            self._told(json.loads(message))

    def _told(self, said: dict[str, Any]) -> None:
        if said["kind"] == "begin":
            before = processes.resident_bytes(self._child)
            self._stages[said["number"]] = _Stage(said, before)
        elif said["kind"] == "end":
            self._stages.pop(said["number"], None)
        elif said["kind"] == "ends itself":
            self._ends_itself = said["wanted"]
        elif said["kind"] == "open":
            _open(said["address"])

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        """Let Ctrl-Z stop the child's group too, and ``fg`` or ``bg`` let it go on."""
        with suppress(ProcessLookupError):
            os.killpg(self._child, signal.SIGSTOP)
        # By the signal's own action, which spares a process that no shell could wake again.
        before = signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, before)
        with suppress(ProcessLookupError):
            os.killpg(self._child, signal.SIGCONT)

    def _end(self) -> NoReturn:
        """Clear up, and end as the command did."""
        code = self._code or 0
        if code < 0 or self._cause is not None:
            processes.kill_descendants()
        if self._folder is not None:
            _clear(self._folder)
        if code < 0:
            _show_cursor()
        if self._cause == signal.SIGINT:
            if code < 0:
                _say(f"{INTERRUPTED}\n")
            sys.exit(130)
        if self._cause is not None:
            signal.signal(self._cause, signal.SIG_DFL)
            os.kill(os.getpid(), self._cause)
        if code >= 0:
            sys.exit(code)
        self._complain(signal.Signals(-code))

    def _complain(self, number: signal.Signals) -> NoReturn:
        from sprat.cli.screen import complain

        error = self._error(number)
        complain(error)
        sys.exit(error.exit_code)

    def _error(self, number: signal.Signals) -> Any:
        from sprat.errors import NativeCrashError
        from sprat.limits import too_large, too_slow

        if self._exceeded is not None:
            what, stage = self._exceeded
            make = too_slow if what == "seconds" else too_large
            return make(stage.said["stage"], stage.said["where"], stage.said[what])
        if number == signal.SIGKILL:
            return NativeCrashError(
                "was killed (SIGKILL).",
                hint=f"Where nobody did, memory ran out. {OUT_OF_MEMORY}",
            )
        return NativeCrashError(
            f"native code crashed ({number.name}). Nothing is half-written.",
            hint="The model is damaged, or does what a runtime cannot: 'sprat inspect' shows it.",
        )


def _note(_number: int, _frame: FrameType | None) -> None:
    """Handle a signal: it comes through the pipe of ``set_wakeup_fd``, in order."""


def _open(address: str) -> None:
    """Open an address in the user's browser, as a process that does not end with this command."""
    processes.adopt_orphans(False)
    between = os.fork()
    if between == 0:
        signal.set_wakeup_fd(-1)
        if os.fork() == 0:
            import webbrowser

            os.setsid()
            webbrowser.open(address)
        os._exit(0)
    os.waitpid(between, 0)
    processes.adopt_orphans()


def _clear(folder: Path) -> None:
    """Remove what a run has left: its temporary files, and unfinished files beside its results."""
    for link in (folder / "unfinished").glob("*"):
        with suppress(OSError):
            place = link.readlink()
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place, ignore_errors=True)
            else:
                place.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _show_cursor() -> None:
    """Clear a bar that was on the terminal, and show the cursor that it hid."""
    if sys.stderr.isatty():
        _say("\r\x1b[K\x1b[?25h")


def _say(text: str) -> None:
    """Print without what takes time to import; where nobody reads, say nothing."""
    with suppress(OSError):
        os.write(2, text.encode())
