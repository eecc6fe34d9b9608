"""Run a command in a child process that the parent supervises.

ONNX, ONNX Runtime and the cleaning libraries are C++ that reads strangers' files. What Python can
refuse it refuses first (``model/check.py``); where native code dies all the same, the parent is
still there and says so. While native code works, no signal reaches Python either. So the parent
ends the command, on Ctrl-C or where a step exceeds its limits, with all processes that it has
started, and removes what they leave behind. Files get their names when they are whole
(``files.py``): a kill damages none. Without ``fork`` (Windows) the command runs uncontained.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from sprat.cli.processes import adopt_orphans, die_with
from sprat.cli.supervise import HANDLED, STOPS, Supervision
from sprat.supervisor import RUN_FOLDER, attach


def contain() -> None:
    """Fork. Returns in the child; the parent waits for it and ends as it does.

    Call it before threads start and before anything heavy is imported. A child that a fault ends
    (SIGSEGV, SIGABRT …) or that is killed (out of memory) becomes one clear error, exit code 3.
    Ctrl-C ends it with exit code 130.
    """
    _open_standard_streams()
    if not HANDLED:
        return
    parent, folder = os.getpid(), _run_folder()
    receiver, sender = os.pipe()
    blocked = (*HANDLED, *STOPS)
    signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    child = os.fork()
    if child == 0:
        # A group of its own, so that Ctrl-C reaches the parent alone.
        os.setpgid(0, 0)
        die_with(parent)
        os.close(receiver)
        attach(sender)
        _bound_memory()
        _use(folder)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
        return
    os.close(sender)
    with suppress(OSError):  # the child has done so, or is over
        os.setpgid(child, child)  # here too: whoever comes first, the group is there from now on
    adopt_orphans()
    Supervision(child, receiver, folder).run(blocked)


def _open_standard_streams() -> None:
    """Open what the caller has closed, so that no file of ours gets the number of a stream.

    Standard output stays None for Python: ``app`` refuses to work for nobody.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115


def _run_folder() -> Path | None:
    """Make the folder for all temporary files of the run; None where there is no room for one."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="sprat-run-"))
        (folder / "unfinished").mkdir()
    except OSError:
        return None
    return folder


def _use(folder: Path | None) -> None:
    if folder is not None:
        os.environ[RUN_FOLDER] = os.environ["TMPDIR"] = str(folder)
        tempfile.tempdir = None  # to be looked up again


def _bound_memory() -> None:
    """Let nothing take more than the machine has: a model of 1 kB may ask for terabytes."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    own = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    soft = own if most == resource.RLIM_INFINITY else min(own, most)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, most))
