"""What the commands that teach a student share: ``distill``, ``tune``, ``optimize --student``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sprat.cli.screen import note
from sprat.tuning import space

if TYPE_CHECKING:
    from sprat.record.schema import EpochRecord

TeacherArgument = Annotated[
    Path, typer.Argument(help="The ONNX model that teaches.", show_default=False)
]
OutOption = Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")]
StudentOption = Annotated[
    str, typer.Option("--student", help="Of torchvision or timm, or package.module:function.")
]
WidthOption = Annotated[float, typer.Option("--width", help="Factor on its channels.")]
StudentSizeOption = Annotated[
    str | None,
    typer.Option(
        "--student-size", help="Height x width that it looks at; the teacher's by default."
    ),
]
EpochsOption = Annotated[
    int | None,
    typer.Option("--epochs", help="Passes over train; as many as fit into its minutes."),
]
WeightsOption = Annotated[
    str, typer.Option("--weights", help="none, imagenet (a download), or a file.")
]
BatchOption = Annotated[int, typer.Option("--batch", help="Samples in one step.")]
OptimizerOption = Annotated[Literal["adamw", "sgd"], typer.Option("--optimizer")]
ScheduleOption = Annotated[Literal["one-cycle", "cosine"], typer.Option("--schedule")]
DecayOption = Annotated[float, typer.Option("--decay", help="Weight decay.")]
EmaOption = Annotated[
    float, typer.Option("--ema", help="Running mean of the weights, a step; 0 keeps none.")
]
PatienceOption = Annotated[
    int | None,
    typer.Option("--patience", help="Epochs without a gain on val that end a training."),
]
VectorOption = Annotated[
    Literal["cosine", "mse"], typer.Option("--vector", help="How embeddings are compared.")
]
MirrorOption = Annotated[
    bool | None,
    typer.Option("--mirror/--no-mirror", help="Mirrored pictures mean the same."),
]
AskedOption = Annotated[
    Literal["once", "views"],
    typer.Option("--asked", help="The teacher answers each picture once, or each view of it."),
]
DeviceOption = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, or another of torch's.")
]
OpsetOption = Annotated[int, typer.Option("--opset", help="Of the student's file.")]
MaxDropOption = Annotated[float, typer.Option("--max-drop", help="Points that accuracy may fall.")]


def sides(text: str | None) -> tuple[int, int] | None:
    """Read ``--student-size``: height x width, or one number for both.

    Raises:
        OptionError: It is something else.
    """
    if text is None:
        return None
    return space.sides(text)


def tell(epoch: EpochRecord, left: float) -> None:
    """Print how far a training is."""
    note(
        f"epoch {epoch.epoch}: loss {epoch.loss:.4f}, val {epoch.score:.2%}, agrees with the "
        f"teacher on {epoch.agreement:.2%}; {_time(left)} left"
    )


def _time(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
