"""``sprat distill``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sprat.cli.config import ConfigOption, with_file
from sprat.cli.options import (
    DataOption,
    JsonOption,
    LimitOption,
    SeedOption,
    with_data_options,
)
from sprat.cli.screen import as_json, bar, interruptible, megabytes, note, say
from sprat.cli.teaching import (
    AskedOption,
    BatchOption,
    DecayOption,
    DeviceOption,
    EmaOption,
    EpochsOption,
    MaxDropOption,
    MirrorOption,
    OpsetOption,
    OptimizerOption,
    OutOption,
    PatienceOption,
    ScheduleOption,
    StudentOption,
    StudentSizeOption,
    TeacherArgument,
    VectorOption,
    WeightsOption,
    WidthOption,
    sides,
    tell,
)

if TYPE_CHECKING:
    from sprat.record.schema import Run


@with_data_options
def command(
    teacher: TeacherArgument,
    data: DataOption,
    out: OutOption,
    student: StudentOption = "mobilenet_v3_small",
    width: WidthOption = 1.0,
    student_size: StudentSizeOption = None,
    weights: WeightsOption = "none",
    epochs: EpochsOption = None,
    minutes: Annotated[
        float, typer.Option("--minutes", help="Time for the whole; the best so far wins.")
    ] = 60.0,
    batch: BatchOption = 64,
    optimizer: OptimizerOption = "adamw",
    rate: Annotated[
        float | None,
        typer.Option("--rate", help="Highest learning rate; 0.004 for adamw, 0.1 for sgd."),
    ] = None,
    schedule: ScheduleOption = "one-cycle",
    decay: DecayOption = 0.02,
    ema: EmaOption = 0.995,
    patience: PatienceOption = None,
    alpha: Annotated[
        float, typer.Option("--alpha", help="Share of the teacher's answers in the loss.")
    ] = 0.9,
    temperature: Annotated[
        float, typer.Option("--temperature", help="Softens both sides' probabilities.")
    ] = 4.0,
    vector: VectorOption = "cosine",
    augment: Annotated[
        Literal["auto", "none", "drawing", "photo"],
        typer.Option("--augment", help="Views that mean the same."),
    ] = "auto",
    mirror: MirrorOption = None,
    asked: AskedOption = "once",
    device: DeviceOption = "auto",
    opset: OpsetOption = 17,
    max_drop: MaxDropOption = 2.0,
    seed: SeedOption = 0,
    limit: LimitOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
    options: Any = None,
) -> None:
    """Teach a small network what an ONNX model knows (needs torch: pip install '.[distill]').

    The student learns from the teacher's answers on train, and from the labels where there are
    any. The best epoch on val is kept; test is looked at once. Input and output are the
    teacher's, so the page needs no change. Writes model.onnx, sprat.toml, run.json, report.html
    and history.jsonl. Killed or ended by Ctrl-C, the same command goes on after the last epoch.
    Exit code 1 if the student falls more than --max-drop points below the teacher.

    \b
    Students: mobilenet_v2, mobilenet_v3_small, mobilenet_v3_large, efficientnet_b0, resnet18,
      shufflenet_v2_x0_5 … x2_0, mnasnet0_5 … 1_3, or timm's where that is installed
    \b
    Examples:
      sprat distill model.onnx --data photos --out student
      sprat distill model.onnx --data doodles --out student --student-size 112x112 --mirror
      sprat distill model.onnx --data photos --out student --weights imagenet --minutes 20
      sprat distill model.onnx --data tensors.npz --out student --student mine.nets:small
      sprat distill model.onnx --data photos --out student --config tuned/sprat.toml
    """
    from sprat.distillation.configs import Recipe, Student
    from sprat.workflow.distill import distill

    network = Student(student, width, sides(student_size), weights)
    recipe = Recipe(
        epochs=epochs,
        minutes=minutes,
        batch=batch,
        optimizer=optimizer,
        rate=rate,
        schedule=schedule,
        decay=decay,
        ema=ema,
        patience=patience,
        alpha=alpha,
        temperature=temperature,
        vector=vector,
        augment=augment,
        mirror=mirror,
        asked=asked,
        device=device,
    )
    with interruptible() as stop, bar(quiet=json) as progress:
        run = distill(
            teacher,
            data,
            out,
            student=network,
            recipe=recipe,
            opset=opset,
            max_drop=max_drop,
            options=with_file(options, config),
            seed=seed,
            limit=limit,
            progress=progress,
            told=tell,
            stop=stop,
        )
    if json:
        as_json(run)
    else:
        _show(run, teacher, out)
    last = run.choice.test or run.choice.validation
    raise typer.Exit(0 if last.drop <= max_drop else 1)


def _show(run: Run, teacher: Path, out: Path) -> None:
    for line in run.data.notes:
        note(line)
    last, taught = run.choice.test or run.choice.validation, run.distillation
    assert taught is not None
    before, after, speed = run.model.wire, run.outputs[0].wire, run.choice.speed
    about = "about " if before.estimated else ""
    say(
        f"{taught.student}, {taught.parameters:,} parameters: {about}{megabytes(before.brotli)} "
        f"-> {megabytes(after.brotli)} br-11, before any quantization."
    )
    say(
        f"{last.metric} {last.reference:.2%} -> {last.model:.2%} on {last.samples} {last.split} "
        f"samples, drop {last.drop:+.2f} points (95 % {last.interval.low:+.2f} to "
        f"{last.interval.high:+.2f}), agreement {last.agreement:.2%}."
    )
    if speed is not None:
        say(
            f"{speed.ratio:.2f} of the teacher's native time "
            f"({speed.interval.low:.2f} to {speed.interval.high:.2f})."
        )
    lasted = f"Trained {len(taught.curve)} of {taught.planned} epochs ({taught.ended})."
    say(f"{lasted} {run.choice.reason}")
    if last.drop > run.choice.max_drop:
        say(f"WARNING: the drop exceeds {run.choice.max_drop:g} points.")
    say(
        f"Next: sprat optimize {out / 'model.onnx'} --reference {teacher} "
        f"--data {run.data.source} --out …"
    )
    say(f"Report: {out / 'report.html'}")
