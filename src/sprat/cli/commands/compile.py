"""``sprat compile``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sprat.cli.options import JsonOption, ModelArgument, numbers, with_data_options
from sprat.cli.screen import as_json, bar, megabytes, say
from sprat.errors import OptionError

if TYPE_CHECKING:
    from sprat.workflow.compile import Compilation


@with_data_options
def command(
    model: ModelArgument,
    out: Annotated[
        Path,
        typer.Option("-o", "--out", help="Folder for plan and weights.", show_default=False),
    ],
    data: Annotated[
        str | None,
        typer.Option("--data", help="Samples to check on; random inputs without.", metavar="TEXT"),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option("--shape", help="NAME=1x3x224x224 for an input with dynamic axes."),
    ] = None,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Inputs to check on.")] = 16,
    place: Annotated[
        Literal["node", "chromium"] | None,
        typer.Option("--in", help="Where it is checked: node (if there is one) or chromium."),
    ] = None,
    runtime: Annotated[
        bool,
        typer.Option("--runtime", help="Write the runtime's files beside plan and weights, too."),
    ] = False,
    json: JsonOption = False,
    options: Any = None,
) -> None:
    """Compile a model for the lean runtime: 70 KB instead of ONNX Runtime Web's 2.4 MB.

    It takes plain networks (convolutions, pools, products, the usual activations) and says which
    node it cannot do. The result is written only after it has answered as native ONNX Runtime
    does.

    \b
    Examples:
      sprat compile small/model.onnx -o lean --data photos
      sprat compile small/model.onnx -o public/lean --data photos --runtime
      sprat compile detector.onnx -o lean --shape x=1x3x320x320
    """
    from sprat.workflow.compile import compile

    with bar(quiet=json) as progress:
        found = compile(
            model,
            out,
            data=data,
            options=options,
            shapes=_shapes(shape or []),
            samples=samples,
            place=place,
            runtime=runtime,
            progress=progress,
        )
    if json:
        as_json(found)
    else:
        _show(found)


def _shapes(given: list[str]) -> dict[str, list[int]]:
    found = {}
    for text in given:
        name, equals, dims = text.rpartition("=")
        if not equals or not name:
            raise OptionError(f"must be NAME=1x3x224x224, got {text!r}.", where="--shape")
        found[name] = numbers("shape", dims.replace("x", ","), int)
    return found


def _show(found: Compilation) -> None:
    steps = ", ".join(f"{count} {op}" for op, count in found.steps.items())
    say(f"{sum(found.steps.values())} steps: {steps}")
    runtime, plan = found.runtime_brotli / 1000, found.plan_brotli / 1000
    kind = "samples" if found.real else "random inputs"
    say(
        f"Checked in {found.place} on {found.samples} {kind}: the largest difference from native "
        f"is {found.largest:.1e}; {megabytes(found.heap)} of memory"
    )
    say(
        f"The page needs {runtime + plan:.1f} KB in br-11 beside the weights: "
        f"runtime {runtime:.1f}, plan {plan:.1f}"
    )
    say(f"Wrote {found.plan} and {found.weights}")
