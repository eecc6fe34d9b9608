"""``sprat simplify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sprat.cli.options import JsonOption, OnlyOutputsOption, with_data_options
from sprat.cli.screen import as_json, bar, say, table
from sprat.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sprat.graph.simplify import Step


@with_data_options
def command(
    model: Annotated[
        Path | None, typer.Argument(help="The ONNX model.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Where the model goes.", show_default=False)
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Only this pass. Repeatable.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help="Samples on which each pass is checked; noise by default."),
    ] = None,
    only_outputs: OnlyOutputsOption = False,
    show_list: Annotated[bool, typer.Option("--list", help="List the passes.")] = False,
    json: JsonOption = False,
    options: Any = None,
) -> None:
    """Clean the graph: fold, drop and merge what costs bytes or time for nothing.

    Each pass is checked by running both models on the same inputs and by counting nodes and
    bytes, and undone, with the reason, if it makes the model worse or different.

    \b
    Examples:
      sprat simplify model.onnx -o clean.onnx
      sprat simplify model.onnx -o clean.onnx --only fuse_bn_into_conv --only raise_opset
      sprat simplify model.onnx -o clean.onnx --output output --only-outputs
      sprat simplify --list
    """
    from sprat.graph.passes import PASSES

    if show_list:
        table("", ["pass", "what it does"], [(p.name, p.description) for p in PASSES.values()])
        return
    if model is None or out is None:
        raise OptionError("simplify needs a model and -o OUT.", hint="See 'sprat simplify --help'.")
    from sprat.workflow.step import simplify_file

    with bar(quiet=json) as progress:
        found = simplify_file(
            model,
            out,
            only=only,
            data=data,
            options=options,
            only_outputs=only_outputs,
            progress=progress,
        )
    if json:
        as_json(found.steps)
    else:
        if found.note:
            say(found.note)
        _show(found.steps, out)


def _show(steps: Sequence[Step], out: Path) -> None:
    rows = [
        (
            "done" if s.kept else "undone",
            s.name,
            f"{s.nodes_before} -> {s.nodes_after}",
            f"{s.bytes_before:,} -> {s.bytes_after:,}",
            f"{s.max_abs_difference:.1e}",
            s.reason,
        )
        for s in steps
    ]
    table("", ["", "pass", ">nodes", ">bytes", ">difference", "note"], rows)
    say(f"Wrote {out}")
