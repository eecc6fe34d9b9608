"""The commands, and how each error becomes an exit code.

Exit codes: 0 all is well; 1 the answer is no (a bar is missed, nothing smaller was found);
2 something given is wrong; 3 the browser or native code crashed, or hung; 70 a fault of ours;
130 interrupted; 141 nobody reads the output any more.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable

import typer

from sprat import __version__
from sprat.cli import commands
from sprat.cli.screen import UNREAD, Interrupted, complain, err, interrupt, leave_unread
from sprat.cli.supervise import INTERRUPTED, OUT_OF_MEMORY
from sprat.errors import NativeCrashError, OutputError, SpratError
from sprat.files import unwritten

#: What the system says of a full disk, under standard output or the temporary folder.
_FULL = (errno.ENOSPC, errno.EDQUOT)

_CLOSED = OutputError(
    "is closed.", where="standard output", hint="Give it a place, such as '> FILE'."
)

_ROAD = """Give up a sliver of accuracy, win a web page that loads.

The road from a model to a page:

\b
  sprat inspect model.onnx                             what it is, and what it costs to download
  sprat optimize model.onnx --data photos --out small  the smallest model that still does its job
  sprat prove small --reference model.onnx --data photos    the same in a real browser
  sprat try small --reference model.onnx --data photos      a page to draw on
  sprat verify small --reference model.onnx --data photos   one verdict, for CI

The proof, to look at and to show, is small/report.html.

\b
verify holds accuracy, speed and bytes against bars; for the browser and the network add
  --max-browser-drop 1 --max-first-prediction 3@10

\b
A student that learns from the model: distill, tune. For a page: bundle, serve, compile.
One step by hand: simplify, quantize, compare. What was done: history.
"""

app = typer.Typer(
    name="sprat",
    help=_ROAD,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"sprat {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """Hold the options that come before a command."""


commands.register(app)


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGINT, interrupt)
    if sys.stdout is None:
        sys.exit(_complaint(_CLOSED))
    sys.exit(_flushed(_exit_code(app)))


def _exit_code(work: Callable[[], object]) -> int:
    """Do some work; say what went wrong, and return the exit code."""
    code = 0
    try:
        work()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except MemoryError:
        code = _complaint(NativeCrashError("memory ran out.", hint=OUT_OF_MEMORY))
    except BrokenPipeError:
        leave_unread()
        code = UNREAD
    except Exception as error:
        code = _failed(error)
    except Interrupted:
        err.print(INTERRUPTED)
        code = 130
    return code


def _failed(error: Exception) -> int:
    """Say what went wrong, and return the exit code."""
    if isinstance(error, SpratError):
        return _complaint(error)
    if os.environ.get("SPRAT_DEBUG"):
        raise error
    if isinstance(error, OSError) and error.errno in _FULL:
        return _complaint(unwritten(error.filename or "the output, or the temporary folder", error))
    kind = type(error).__name__
    complain(
        SpratError(
            f"an unexpected {kind}: {error}",
            hint="This is a fault in Sprat: please report it with what SPRAT_DEBUG=1 prints.",
        )
    )
    return 70


def _complaint(error: SpratError) -> int:
    complain(error)
    return error.exit_code


def _flushed(code: int) -> int:
    """Write out what standard output still holds, and return the exit code.

    Python itself would do so when it ends, and complain in its own words.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        leave_unread()  # what could not be written is not tried again
        return code or (UNREAD if error.errno == errno.EPIPE else _failed(error))
    return code
