"""Find and end the processes that a command has started, whatever group or session they are in."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

#: Linux: ``prctl`` with these lets a child die with its parent, and lets orphans come to us.
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
#: Seconds for killed processes to be gone; the kernel needs milliseconds.
_PATIENCE = 1.5
#: Seconds between two looks at them.
_TICK = 0.01


def die_with(parent: int) -> None:
    """Let this process be killed when its parent ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os.kill(os.getpid(), signal.SIGKILL)


def adopt_orphans(wanted: bool = True) -> None:
    """Become the parent of descendants whose own parent ends, so that none is lost (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(wanted))


def kill_descendants() -> None:
    """Kill all processes that stem from this one, and wait until they are gone.

    Elsewhere than on Linux, what was orphaned before is not found.
    """
    end = time.monotonic() + _PATIENCE
    while True:
        found = descendants(os.getpid())
        kill_all(found)
        reap()
        if not found or time.monotonic() > end:
            return
        time.sleep(_TICK)


def kill_all(found: Iterable[int]) -> None:
    """Kill processes in this order."""
    for process in found:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal.SIGKILL)


def reap() -> dict[int, int]:
    """Take note of children that have ended.

    Returns:
        Process ID to exit code; minus the signal's number where a signal ended it.
    """
    ended = {}
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended[found[0]] = os.waitstatus_to_exitcode(found[1])
    return ended


def descendants(ancestor: int) -> list[int]:
    """Return the IDs of all processes that stem from one, zombies too; parents go first."""
    children: dict[int, list[int]] = {}
    for process, parent in _parents():
        children.setdefault(parent, []).append(process)
    found = list(children.get(ancestor, ()))
    for process in found:  # grows while it is gone through
        found += children.get(process, ())
    return found


def _parents() -> Iterator[tuple[int, int]]:
    """Yield each process and its parent."""
    if sys.platform == "linux":
        for entry in os.scandir("/proc"):
            if entry.name.isdecimal():
                with suppress(OSError):
                    # The name stands in brackets and may hold anything; the parent comes second.
                    after = Path(entry.path, "stat").read_bytes().rpartition(b")")[2].split()
                    yield int(entry.name), int(after[1])
        return
    with subprocess.Popen(["ps", "-A", "-o", "pid=,ppid="], stdout=subprocess.PIPE) as listing:
        listed, _ = listing.communicate()
    for line in listed.splitlines():
        process, parent = map(int, line.split())
        if process != listing.pid:
            yield process, parent


def resident_bytes(process: int) -> int:
    """Return the memory that a process holds, in bytes; 0 where that is not known."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_bytes().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
