"""Options of the commands that teach a student: ``distill`` and ``tune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

TeacherArgument = Annotated[
    Path, typer.Argument(help="The ONNX model that teaches.", show_default=False)
]
OutOption = Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")]
StudentOption = Annotated[
    str, typer.Option("--student", help="Of torchvision or timm, or package.module:function.")
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
