"""One file per command; each is a thin shell over a public function of the same name."""

from __future__ import annotations

import typer

from sprat.cli.commands import (
    bundle,
    compare,
    compile,
    distill,
    history,
    inspect,
    optimize,
    prove,
    quantize,
    serve,
    simplify,
    try_,
    tune,
    verify,
)
from sprat.cli.limiting import with_limits

_IN_ORDER = (
    *(inspect, simplify, quantize, compare, optimize, distill, tune, prove, try_),
    *(compile, bundle, serve, verify, history),
)
#: These open no model.
_WITHOUT_MODEL = (serve, history)


def register(app: typer.Typer) -> None:
    """Add every command to the application, in the order of the road."""
    for module in _IN_ORDER:
        name = module.__name__.rpartition(".")[2].rstrip("_")
        bare = module in _WITHOUT_MODEL
        app.command(name)(module.command if bare else with_limits(module.command))
