"""Run a command in a child process, so that native code that dies on a model takes nobody along.

ONNX, ONNX Runtime and the cleaning libraries are C++ that reads strangers' files. What Python can
refuse it refuses first (``model/check.py``); where native code dies all the same, the parent is
still there and says so. Without ``fork`` (Windows) the command runs uncontained.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from types import FrameType

#: Handed on to the child, which knows how to end well.
_HANDED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if hasattr(signal, "SIGHUP") else ()
#: Ctrl-Z stops the child's group as well.
_STOPS = (signal.SIGTSTP,) if hasattr(signal, "SIGTSTP") else ()
OUT_OF_MEMORY = "Give fewer samples (--limit) or a smaller model."
#: Linux: ``prctl`` with this lets a child die with its parent.
_PR_SET_PDEATHSIG = 1


def contain() -> None:
    """Fork. Returns in the child; the parent waits for it and ends as it does.

    Call it before threads start and before anything heavy is imported. A child that a fault ends
    (SIGSEGV, SIGABRT …) or that is killed (out of memory) becomes one clear error, exit code 3.
    """
    if not _HANDED_ON:
        return
    parent = os.getpid()
    blocked = (*_HANDED_ON, *_STOPS)
    signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    child = os.fork()
    if child == 0:
        # A group of its own, so that Ctrl-C reaches it once: through the parent.
        os.setpgid(0, 0)
        _die_with(parent)
        _bound_memory()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
        return
    with suppress(OSError):  # the child has done so, or is over
        os.setpgid(child, child)  # here too: whoever comes first, the group is there from now on
    _hand_on_to(child)
    _stop_with(child)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
    _, status = os.waitpid(child, 0)
    _end_like(os.waitstatus_to_exitcode(status))


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os.kill(os.getpid(), signal.SIGKILL)


def _bound_memory() -> None:
    """Let nothing take more than the machine has: a model of 1 kB may ask for terabytes."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    own = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    soft = own if most == resource.RLIM_INFINITY else min(own, most)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, most))


def _hand_on_to(child: int) -> None:
    def handle(number: int, _frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, number)

    for number in _HANDED_ON:
        signal.signal(number, handle)


def _stop_with(child: int) -> None:
    """Let Ctrl-Z stop the child's group too, and ``fg`` or ``bg`` let it go on."""

    def stop(number: int, _frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGSTOP)
        # By the signal's own action, which spares a process that no shell could wake again.
        before = signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, before)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGCONT)

    for number in _STOPS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)


def _end_like(code: int) -> None:
    if code >= 0:
        sys.exit(code)
    number = signal.Signals(-code)
    if number in _HANDED_ON:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    from sprat.cli.screen import complain
    from sprat.errors import NativeCrashError

    if number == signal.SIGKILL:
        error = NativeCrashError(
            "was killed (SIGKILL).",
            hint=f"Where nobody did, memory ran out. {OUT_OF_MEMORY}",
        )
    else:
        error = NativeCrashError(
            f"native code crashed ({number.name}). Nothing is half-written.",
            hint="The model is damaged, or does what a runtime cannot: 'sprat inspect' shows it.",
        )
    complain(error)
    sys.exit(error.exit_code)
