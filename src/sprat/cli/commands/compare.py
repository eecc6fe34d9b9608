"""``sprat compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sprat.cli.options import (
    DataOption,
    JsonOption,
    LimitOption,
    with_data_options,
)
from sprat.cli.screen import as_json, bar, megabytes, note, say, table

if TYPE_CHECKING:
    from sprat.model.wire import WireBytes
    from sprat.workflow.compare import Comparison, NotCompared

_SHOWN_FLIPS = 10


@with_data_options
def command(
    reference: Annotated[Path, typer.Argument(help="The original.", show_default=False)],
    model: Annotated[Path, typer.Argument(help="The other model.", show_default=False)],
    data: DataOption,
    split: Annotated[Literal["val", "test"], typer.Option("--split", help="val or test.")] = "val",
    exact: Annotated[
        bool, typer.Option("--exact", help="Compress all of the original (1 MB a second).")
    ] = False,
    limit: LimitOption = None,
    json: JsonOption = False,
    options: Any = None,
) -> None:
    """Compare two models on the same samples.

    Accuracy of both, the paired difference with its 95 % interval, agreement, the samples that
    flipped, output difference, native speed as a ratio, bytes raw and on the wire.

    \b
    Examples:
      sprat compare model.onnx small.onnx --data photos
      sprat compare model.onnx small.onnx --data photos --split test --json
    """
    from sprat.workflow.compare import compare

    with bar(quiet=json) as progress:
        found = compare(
            reference,
            model,
            data,
            options=options,
            split=split,
            limit=limit,
            exact=exact,
            progress=progress,
        )
    if json:
        as_json(found)
    else:
        show(found)


def show(found: Comparison) -> None:
    """Print a comparison."""
    from sprat.workflow.compare import besides

    for line in found.notes:
        note(line)
    e, speed = found.evaluation, found.speed
    before, after = found.reference_wire, found.model_wire
    flipped = "" if e.changed is None else f"{e.changed} samples flipped"
    table(
        "",
        ["", ">reference", ">model", "difference"],
        [
            (
                f"{e.metric} ({e.samples} {e.split})",
                f"{e.reference:.2%}",
                f"{e.model:.2%}",
                f"drop {e.drop:+.2f} points, 95 % {e.interval.low:+.2f} to "
                f"{e.interval.high:+.2f}{besides(e)}",
            ),
            ("agreement", "", f"{e.agreement:.2%}", flipped),
            (
                "outputs",
                "",
                "",
                f"max {e.error.max_abs:.4g}, mean {e.error.mean_abs:.4g}, "
                f"signal-to-noise {e.error.snr_db:.1f} dB, divergence {e.error.divergence:.3g}",
            ),
            (
                "native time, 1 thread",
                f"{speed.reference_ms:.2f} ms",
                f"{speed.model_ms:.2f} ms",
                f"{speed.ratio:.2f} times ({speed.interval.low:.2f} to {speed.interval.high:.2f})",
            ),
            *_bytes(before, after),
        ],
    )
    if e.flips:
        say("")
        table(
            "Flipped samples, surest first",
            ["sample", "label", "reference", ">score", "model", ">score"],
            [
                (
                    flip.sample,
                    flip.label,
                    flip.reference,
                    f"{flip.reference_score:.3f}",
                    flip.model,
                    f"{flip.model_score:.3f}",
                )
                for flip in e.flips[:_SHOWN_FLIPS]
            ],
        )
        if len(e.flips) > _SHOWN_FLIPS:
            say(f"… and {len(e.flips) - _SHOWN_FLIPS} more (--json has all)")


def show_bytes(found: NotCompared) -> None:
    """Print what is known of a model that was not compared."""
    for line in found.notes:
        note(line)
    rows = _bytes(found.reference_wire, found.model_wire)
    table("", ["", ">reference", ">model", "difference"], rows)


def _bytes(before: WireBytes, after: WireBytes) -> list[tuple[str, ...]]:
    about = "about " if before.estimated else ""
    return [
        ("bytes", megabytes(before.raw), megabytes(after.raw), _times(before.raw, after.raw)),
        (
            "bytes in gzip-9",
            about + megabytes(before.gzip),
            megabytes(after.gzip),
            _times(before.gzip, after.gzip),
        ),
        (
            "bytes in br-11",
            about + megabytes(before.brotli),
            megabytes(after.brotli),
            _times(before.brotli, after.brotli),
        ),
    ]


def _times(before: int, after: int) -> str:
    return f"{before / max(1, after):.1f} times smaller"
