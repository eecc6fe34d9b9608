"""``sprat inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sprat.cli.options import JsonOption, ModelArgument, numbers
from sprat.cli.screen import as_json, bar, megabytes, say, table
from sprat.errors import OptionError

if TYPE_CHECKING:
    from sprat.model.inspect import Inspection

_SHOWN_LAYERS = 12


def command(
    model: ModelArgument,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Compress all of it instead of estimating from samples."),
    ] = False,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            "--shape",
            help="Shape of an input, such as input=1x3x224x224, for the count of multiply-adds. "
            "Repeatable.",
        ),
    ] = None,
    all_layers: Annotated[bool, typer.Option("--all", help="Show every layer.")] = False,
    json: JsonOption = False,
) -> None:
    """Show what a model is, what it costs to download, and what to try next.

    \b
    Examples:
      sprat inspect model.onnx
      sprat inspect model.onnx --json
      sprat inspect model.onnx --shape input=1x1x64x64
    """
    from sprat.data.options import read_options
    from sprat.model.inspect import inspect

    shapes = _shapes(model, shape or [])
    said = read_options(model, None)
    size = said.crop or said.size
    with bar(quiet=json) as progress:
        found = inspect(model, exact=exact, shapes=shapes, size=size, progress=progress)
    if json:
        as_json(found)
    else:
        _show(found, len(found.layers) if all_layers else _SHOWN_LAYERS)


def _shapes(model: Path, given: list[str]) -> dict[str, tuple[int, ...]]:
    """Read shapes of inputs, and hold them against the model.

    Raises:
        OptionError: One is no shape, is of no input, or contradicts the model.
    """
    if not given:
        return {}
    from sprat.model.inspect import tensor_infos
    from sprat.model.load import load

    infos = {info.name: info for info in tensor_infos(load(model))}
    found = {}
    for text in given:
        name, _, dims = text.rpartition("=")
        name = name or (next(iter(infos)) if len(infos) == 1 else "")
        shape = tuple(numbers("shape", dims.replace("x", ","), int))
        if name not in infos:
            raise OptionError(
                f"must be INPUT=1x3x224x224, got {text!r}; the inputs are {', '.join(infos)}.",
                where="--shape",
            )
        wanted = infos[name].shape
        fits = len(wanted) == len(shape) and all(
            n > 0 and (not isinstance(w, int) or w == n) for w, n in zip(wanted, shape, strict=True)
        )
        if not fits:
            raise OptionError(
                f"{list(shape)} does not fit {name!r}, which is {list(wanted)}.", where="--shape"
            )
        found[name] = shape
    return found


def _work(found: Inspection) -> str:
    """Say how much one sample, or a run of a fixed first axis, computes; what is not counted."""
    first = found.inputs[0].shape[:1] if found.inputs else ()
    several = any(isinstance(size, int) and size > 1 for size in first)
    counted = f"{found.multiply_adds / 1e6:,.0f} M multiply-adds a {'run' if several else 'sample'}"
    if not found.uncounted:
        return counted
    why = f"{', '.join(found.free[:3])} free" if found.free else "their shapes are not known"
    hint = " (--shape INPUT=1x3x224x224 counts them)" if found.free else ""
    if not found.multiply_adds:
        return f"multiply-adds not counted: {why}{hint}"
    return f"{counted} and {found.uncounted} layers not counted: {why}{hint}"


def _show(found: Inspection, shown: int) -> None:
    say(f"{found.path}: {found.architecture}")
    say(
        f"{megabytes(found.file_bytes)} ({found.parameters:,} parameters, "
        f"{megabytes(found.parameter_bytes)}), opset {found.opset}, IR {found.ir_version}"
        f"{', by ' + found.producer if found.producer else ''}, "
        f"{_work(found)}"
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
