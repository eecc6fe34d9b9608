"""``sprat quantize``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from sprat.cli.commands.compare import show, show_bytes
from sprat.cli.options import (
    JsonOption,
    LimitOption,
    ModelArgument,
    OnlyOutputsOption,
    SeedOption,
    with_data_options,
)
from sprat.cli.screen import as_json, bar, interruptible


@with_data_options
def command(
    model: ModelArgument,
    method: Annotated[
        Literal["dynamic", "static", "weights", "float16", "rate-distortion"],
        typer.Option("--method", help="The strategy.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Where the model goes.")],
    data: Annotated[
        str | None,
        typer.Option("--data", help="Samples; static calibration and the comparison need them."),
    ] = None,
    calibration: Annotated[
        Literal["minmax", "entropy", "percentile"],
        typer.Option("--calibration", help="How static finds activation ranges."),
    ] = "minmax",
    bits_per_weight: Annotated[
        float | None,
        typer.Option("--bits-per-weight", help="rate-distortion: entropy of a weight."),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option("--max-drop", help="rate-distortion: the smallest within so many points."),
    ] = None,
    max_bytes: Annotated[
        int | None,
        typer.Option("--max-bytes", help="rate-distortion: the best under so many br-11 bytes."),
    ] = None,
    refine: Annotated[
        float | None,
        typer.Option(
            "--refine",
            min=0.01,
            help="rate-distortion: refine its point by gradients for so many minutes (torch).",
        ),
    ] = None,
    refine_steps: Annotated[
        int | None,
        typer.Option(
            "--refine-steps",
            min=1,
            help="Exactly so many steps instead: the same bytes every time.",
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", help="Node (weights: initializer) that stays float. Repeatable."),
    ] = None,
    only_outputs: OnlyOutputsOption = False,
    seed: SeedOption = 0,
    limit: LimitOption = None,
    json: JsonOption = False,
    options: Any = None,
) -> None:
    """Quantize by one method, and compare sizes and outputs before and after.

    A method that changes nothing, or makes the file larger, is an error (exit code 1).

    \b
    Methods:
      dynamic   weights U8, activations at each run; good on MatMul and Conv, no data needed
      static    weights S8 per channel, activations U8 from calibration data (QDQ); fastest
      weights   weights S8 per channel, expanded at each run; loads anywhere
      float16   half the bytes, no speed
      rate-distortion  few distinct integers, the fewest bytes on the wire; needs data, and one of
                --bits-per-weight, --max-drop, --max-bytes; --refine MINUTES lets its point learn
                on, label-free, at the same bytes (needs the extra 'distill')
    \b
    Examples:
      sprat quantize model.onnx --method weights -o small.onnx
      sprat quantize model.onnx --method static --data photos -o fast.onnx
      sprat quantize model.onnx --method rate-distortion --data photos --max-bytes 500000 -o s.onnx
    """
    from sprat.refinement.config import Refine
    from sprat.workflow.aim import Target
    from sprat.workflow.compare import NotCompared
    from sprat.workflow.step import quantize_file

    config = None
    if refine is not None or refine_steps is not None:
        config = Refine(minutes=refine or Refine.minutes, steps=refine_steps, seed=seed)
    with bar(quiet=json) as progress, _early_end(method == "rate-distortion") as stop:
        found = quantize_file(
            model,
            out,
            method,
            data=data,
            calibration=calibration,
            exclude=tuple(exclude or ()),
            target=Target(bits_per_weight, max_drop, max_bytes),
            refine=config,
            options=options,
            only_outputs=only_outputs,
            seed=seed,
            limit=limit,
            progress=progress,
            stop=stop,
        )
    if json:
        as_json(found)
    elif isinstance(found, NotCompared):
        show_bytes(found)
    else:
        show(found)


def _early_end(searches: bool) -> AbstractContextManager[Callable[[], bool]]:
    """Let Ctrl-C end a search or refinement with the best so far; anything else stops at once."""
    return interruptible() if searches else nullcontext(lambda: False)
