"""Messages from a command to the process that supervises it.

The command line runs each command in a child process (``cli/contain.py``). The parent ends it when
the user asks and when a step takes more than it may, which no code of the child can do while it is
inside a native library. Outside the command line nobody listens, and messages go nowhere.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field

#: Environment variable with the folder of this run: what lies there is removed at its end.
RUN_FOLDER = "SPRAT_RUN_FOLDER"


@dataclass
class _Line:
    """The writing end of the pipe to the parent.

    Attributes:
        descriptor: Of the pipe; None where nobody listens.
        process: Who may write: a process that was forked later has the pipe, but is not meant.
    """

    descriptor: int | None = None
    process: int = field(default_factory=os.getpid)


_LINE = _Line()


def attach(descriptor: int) -> None:
    """Send what this process has to say into a pipe from now on."""
    _LINE.descriptor, _LINE.process = descriptor, os.getpid()


def is_supervised() -> bool:
    """Return whether a parent listens to this process."""
    return _LINE.descriptor is not None and os.getpid() == _LINE.process


def tell(kind: str, **fields: str | float | None) -> None:
    """Send a message to the parent, where there is one.

    Args:
        kind: What it is about.
        **fields: More of it; all in all less than 4,096 bytes, which a pipe takes at once.
    """
    if is_supervised() and _LINE.descriptor is not None:
        with suppress(OSError):  # the parent is gone, and this process is about to go
            os.write(_LINE.descriptor, json.dumps({"kind": kind, **fields}).encode() + b"\n")
