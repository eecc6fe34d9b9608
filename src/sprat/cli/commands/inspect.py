"""``sprat inspect``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sprat.cli.options import JsonOption, ModelArgument
from sprat.cli.screen import as_json, bar, megabytes, say, table

if TYPE_CHECKING:
    from sprat.model.inspect import Inspection

_SHOWN_LAYERS = 12


def command(
    model: ModelArgument,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Compress all of it instead of estimating from samples."),
    ] = False,
    all_layers: Annotated[bool, typer.Option("--all", help="Show every layer.")] = False,
    json: JsonOption = False,
) -> None:
    """Show what a model is, what it costs to download, and what to try next.

    \b
    Examples:
      sprat inspect model.onnx
      sprat inspect model.onnx --json
    """
    from sprat.model.inspect import inspect

    with bar(quiet=json) as progress:
        found = inspect(model, exact=exact, progress=progress)
    if json:
        as_json(found)
    else:
        _show(found, len(found.layers) if all_layers else _SHOWN_LAYERS)


def _show(found: Inspection, shown: int) -> None:
    say(f"{found.path}: {found.architecture}")
    say(
        f"{megabytes(found.file_bytes)} ({found.parameters:,} parameters, "
        f"{megabytes(found.parameter_bytes)}), opset {found.opset}, IR {found.ir_version}"
        f"{', by ' + found.producer if found.producer else ''}, "
        f"{found.multiply_adds / 1e6:,.0f} M multiply-adds"
    )
    for word, tensors in (("input", found.inputs), ("output", found.outputs)):
        for tensor in tensors:
            shape = ", ".join(str(d) for d in tensor.shape)
            say(f"{word:6} {tensor.name}: {tensor.dtype} [{shape}]")
    _show_layers(found, shown)
    _show_bytes(found)
    for line in found.waste:
        say(f"Waste: {line}")
    say("")
    say("Try next:")
    for advice in found.advice:
        say(f"  {advice.command}")
        say(f"      about {megabytes(advice.expected_bytes)} br-11: {advice.why}")


def _show_layers(found: Inspection, shown: int) -> None:
    rows = [
        (
            layer.name,
            layer.operator,
            "x".join(str(d) for d in layer.shape),
            megabytes(layer.bytes),
            f"{layer.bytes_share:.1%}",
            f"{layer.multiply_adds_share:.1%}",
        )
        for layer in found.layers[:shown]
    ]
    say("")
    table("", ["layer", "operator", ">weight", ">bytes", ">share", ">multiply-adds"], rows)
    if len(found.layers) > shown:
        say(f"… and {len(found.layers) - shown} smaller layers (--all)")
    dtypes = ", ".join(f"{name} {megabytes(size)}" for name, size in found.dtypes.items())
    operators = ", ".join(f"{count} {name}" for name, count in found.operators.items())
    say(f"Types: {dtypes}. Operators: {operators}.")


def _show_bytes(found: Inspection) -> None:
    about = "about " if found.wire.estimated else ""
    say(
        f"On the wire: {megabytes(found.wire.raw)} raw, {about}{megabytes(found.wire.gzip)} "
        f"gzip-9, {about}{megabytes(found.wire.brotli)} br-11"
    )
    rows = [
        (
            f"{d.mbps:g} Mbps",
            f"{d.seconds_raw:.1f} s",
            f"{d.seconds:.1f} s",
            f"{d.seconds_with_runtime:.1f} s",
        )
        for d in found.downloads
    ]
    table("", ["download", ">raw", ">br-11", ">br-11 with ONNX Runtime Web"], rows)
