"""The commands, and how each error becomes an exit code.

Exit codes: 0 all is well; 1 the answer is no (a bar is missed, nothing smaller was found);
2 something given is wrong; 3 the browser or native code crashed, or hung; 70 a fault of ours;
130 interrupted.
"""

from __future__ import annotations

import errno
import os
import signal
import sys

import typer

from sprat import __version__
from sprat.cli import commands
from sprat.cli.contain import OUT_OF_MEMORY
from sprat.cli.screen import Interrupted, complain, err, interrupt
from sprat.errors import NativeCrashError, OutputError, SpratError
from sprat.files import unwritten

#: What the system says of a full disk, under standard output or the temporary folder.
_FULL = (errno.ENOSPC, errno.EDQUOT)

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
    try:
        app()
    except SpratError as error:
        complain(error)
        sys.exit(error.exit_code)
    except MemoryError:
        complain(NativeCrashError("memory ran out.", hint=OUT_OF_MEMORY))
        sys.exit(NativeCrashError.exit_code)
    except Exception as error:
        if os.environ.get("SPRAT_DEBUG"):
            raise
        if isinstance(error, OSError) and error.errno in _FULL:
            complain(unwritten(error.filename or "the output, or the temporary folder", error))
            sys.exit(OutputError.exit_code)
        kind = type(error).__name__
        complain(
            SpratError(
                f"an unexpected {kind}: {error}",
                hint="This is a fault in Sprat: please report it with what SPRAT_DEBUG=1 prints.",
            )
        )
        sys.exit(70)
    except Interrupted:
        err.print("Interrupted. Nothing is half-written; the same command goes on.")
        sys.exit(130)
