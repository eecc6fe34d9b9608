"""The options that raise what loading, cleaning and opening a model may take."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from typing import Annotated, Any

import typer

from sprat.limits import MEMORY, NODES, SECONDS, Limit

_OPTIONS: dict[str, tuple[Limit, Any, str]] = {
    "max_load_seconds": (
        SECONDS,
        float,
        f"For loading, cleaning and opening a model; {SECONDS.usual:g}, and "
        f"{SECONDS.per_megabyte:g} for each MB of it.",
    ),
    "max_load_memory": (
        MEMORY,
        float,
        f"GB for the same; {MEMORY.usual:g}, and {MEMORY.per_megabyte:g} for each MB of it.",
    ),
    "max_nodes": (NODES, int, f"Nodes of a model, functions expanded; {NODES.usual:,.0f}."),
}


def with_limits(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that raise the limits of loading a model."""

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        for name, (limit, _, _) in _OPTIONS.items():
            value = given.pop(name)
            if value is not None:  # worker processes inherit it
                os.environ[limit.variable] = f"{value:.17g}"
        command(**given)

    parameters = [
        p.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for p in inspect.signature(command, eval_str=True).parameters.values()
    ]
    for name, (limit, kind, text) in _OPTIONS.items():
        option = typer.Option(limit.flag, min=kind(0 if kind is float else 1), help=text)
        parameters.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[kind | None, option],
            )
        )
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    del wrapper.__wrapped__
    return wrapper
