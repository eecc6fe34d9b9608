"""``sprat verify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sprat.cli.options import (
    DataOption,
    JsonOption,
    LimitOption,
    numbers,
    with_data_options,
)
from sprat.cli.screen import as_json, bar, note, say, table
from sprat.errors import OptionError

if TYPE_CHECKING:
    from sprat.workflow.verify import Check, Verdict


@with_data_options
def command(
    model: Annotated[
        Path,
        typer.Argument(help="The model, or a folder that optimize wrote.", show_default=False),
    ],
    reference: Annotated[
        Path, typer.Option("--reference", help="The original.", show_default=False)
    ],
    data: DataOption,
    max_drop: Annotated[
        float, typer.Option("--max-drop", help="Points that accuracy may fall.")
    ] = 1.0,
    max_bytes: Annotated[
        int | None, typer.Option("--max-bytes", help="br-11 bytes that the model may have.")
    ] = None,
    max_time_ratio: Annotated[
        float | None,
        typer.Option("--max-time-ratio", help="Native time over the original's."),
    ] = None,
    max_browser_drop: Annotated[
        float | None,
        typer.Option("--max-browser-drop", help="Points that accuracy may fall in Chromium."),
    ] = None,
    max_first_prediction: Annotated[
        str | None,
        typer.Option(
            "--max-first-prediction",
            help="SECONDS@MBPS of a first visit in Chromium, such as 3.0@10.",
        ),
    ] = None,
    confident: Annotated[
        bool,
        typer.Option("--confident", help="A bar holds only if the upper end of its interval does."),
    ] = False,
    split: Annotated[Literal["val", "test"], typer.Option("--split", help="test or val.")] = "test",
    limit: LimitOption = None,
    json: JsonOption = False,
    options: Any = None,
) -> None:
    """Hold a model against the checklist: accuracy, speed, size, browser, network.

    Exit code 0 if every bar is held, 1 if one is missed, 2 if something given is wrong. A bar that
    is held while the figure's 95 % interval reaches beyond it is told, with the number of samples
    that would settle it; --confident takes it for missed.

    \b
    Examples:
      sprat verify small --reference model.onnx --data photos
      sprat verify small --reference model.onnx --data photos --max-bytes 900000
      sprat verify small --reference model.onnx --data photos \\
        --max-browser-drop 1.0 --max-first-prediction 3.0@10
    """
    from sprat.workflow.verify import verify

    with bar(quiet=json) as progress:
        verdict = verify(
            model,
            reference,
            data,
            max_drop=max_drop,
            max_bytes=max_bytes,
            max_time_ratio=max_time_ratio,
            max_browser_drop=max_browser_drop,
            max_first_prediction=_seconds_at(max_first_prediction),
            confident=confident,
            options=options,
            split=split,
            limit=limit,
            progress=progress,
        )
    if json:
        as_json(verdict)
    else:
        for line in verdict.comparison.notes:
            note(line)
        rows = [(_mark(c), c.name, _figure(c), c.bar) for c in verdict.checks]
        table("", ["", "check", "figure", "bar"], rows)
        say(_verdict(verdict))
    raise typer.Exit(0 if verdict.holds else 1)


def _seconds_at(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    found = numbers("max-first-prediction", text.replace("@", ","), float)
    if len(found) != 2:
        raise OptionError(
            f"must be SECONDS@MBPS such as 3.0@10, got {text!r}.", where="--max-first-prediction"
        )
    return (found[0], found[1])


def _mark(check: Check) -> str:
    if not check.bar:
        return "info"
    return "ok" if check.holds else "MISSED"


def _figure(check: Check) -> str:
    return f"{check.figure}; {check.doubt}" if check.doubt else check.figure


def _verdict(verdict: Verdict) -> str:
    if not verdict.holds:
        return "NOT all bars are held."
    doubts = [check.name for check in verdict.checks if check.doubt]
    shown = f", but not shown by these samples: {', '.join(doubts)}" if doubts else ""
    return f"All bars are held{shown}."
