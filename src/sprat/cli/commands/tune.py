"""``sprat tune``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sprat.cli.config import ConfigOption, with_file
from sprat.cli.options import (
    DataOption,
    JsonOption,
    LimitOption,
    SeedOption,
    with_data_options,
)
from sprat.cli.screen import as_json, bar, interruptible, megabytes, note, say, table
from sprat.cli.teaching import (
    AskedOption,
    BatchOption,
    DecayOption,
    DeviceOption,
    EmaOption,
    MaxDropOption,
    MirrorOption,
    OpsetOption,
    OptimizerOption,
    OutOption,
    PatienceOption,
    ScheduleOption,
    StudentOption,
    TeacherArgument,
    VectorOption,
    WeightsOption,
)

if TYPE_CHECKING:
    from sprat.record.schema import Run
    from sprat.tuning.tally import Tally


@with_data_options
def command(
    teacher: TeacherArgument,
    data: DataOption,
    out: OutOption,
    trials: Annotated[int, typer.Option("--trials", help="All workers together.")] = 20,
    study: Annotated[
        str | None,
        typer.Option("--study", help="sqlite:///FILE or postgresql://…; OUT/study.db by default."),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", help="Processes here; they share the cores.")
    ] = 1,
    student: StudentOption = "mobilenet_v3_small",
    weights: WeightsOption = "none",
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", help="Of each trial; as many as fit into its minutes."),
    ] = None,
    minutes_per_trial: Annotated[
        float, typer.Option("--minutes-per-trial", help="Time for teaching one student.")
    ] = 10.0,
    width: Annotated[
        str | None, typer.Option("--width", help="Searched: factor on the student's channels.")
    ] = None,
    student_size: Annotated[
        str | None, typer.Option("--student-size", help="Searched: height x width, with commas.")
    ] = None,
    temperature: Annotated[
        str | None, typer.Option("--temperature", help="Searched: of the soft loss.")
    ] = None,
    alpha: Annotated[
        str | None, typer.Option("--alpha", help="Searched: share of the teacher's answers.")
    ] = None,
    rate: Annotated[
        str | None, typer.Option("--rate", help="Searched: highest learning rate.")
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option("--augment", help="Searched: of auto, none, drawing, photo, with commas."),
    ] = None,
    bits_per_weight: Annotated[
        str | None,
        typer.Option("--bits-per-weight", help="Searched: of the quantization that follows."),
    ] = None,
    batch: BatchOption = 64,
    optimizer: OptimizerOption = "adamw",
    schedule: ScheduleOption = "one-cycle",
    decay: DecayOption = 0.02,
    ema: EmaOption = 0.995,
    patience: PatienceOption = None,
    vector: VectorOption = "cosine",
    mirror: MirrorOption = None,
    asked: AskedOption = "once",
    device: DeviceOption = "auto",
    opset: OpsetOption = 17,
    max_drop: MaxDropOption = 2.0,
    heartbeat: Annotated[
        int,
        typer.Option(
            "--heartbeat", help="Seconds; a worker that is silent for three times as long is dead."
        ),
    ] = 15,
    seed: SeedOption = 0,
    limit: LimitOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
    options: Any = None,
) -> None:
    """Search for the student of fewest bytes that still does its job (pip install '.[tune]').

    Each trial teaches a student, quantizes it by rate and distortion, and measures br-11 bytes and
    accuracy on val; test is never looked at. What is searched is given as LOW:HIGH, as values with
    commas, or as one value. Writes sprat.toml with the best configuration within --max-drop, which
    distill reads, its model.onnx, the front of bytes and accuracy in run.json and report.html.
    The same command goes on where it was, killed or ended by Ctrl-C; with the same --study it
    helps from another machine. Exit code 1 if no trial holds --max-drop.

    \b
    Examples:
      sprat tune model.onnx --data photos --out tuned --workers 2
      sprat tune model.onnx --data doodles --out tuned --epochs 20 --width 0.25:0.75 --mirror
      sprat tune model.onnx --data photos --out tuned --student-size 112,96,64 --alpha 0.9
      sprat tune model.onnx --data photos --out tuned --study postgresql://me@host/studies
      sprat distill model.onnx --data photos --out student --config tuned/sprat.toml
    """
    from sprat.distillation.configs import Recipe, Student
    from sprat.workflow.tune import tune

    searched = {
        "width": width,
        "size": student_size,
        "temperature": temperature,
        "alpha": alpha,
        "rate": rate,
        "augment": augment,
        "bits": bits_per_weight,
    }
    recipe = Recipe(
        epochs=epochs,
        minutes=minutes_per_trial,
        batch=batch,
        optimizer=optimizer,
        schedule=schedule,
        decay=decay,
        ema=ema,
        patience=patience,
        vector=vector,
        mirror=mirror,
        asked=asked,
        device=device,
    )
    with interruptible() as stop, bar(quiet=json) as progress:
        run = tune(
            teacher,
            data,
            out,
            trials=trials,
            study=study,
            workers=workers,
            student=Student(student, weights=weights),
            recipe=recipe,
            space={name: str(text) for name, text in searched.items() if text is not None},
            opset=opset,
            max_drop=max_drop,
            heartbeat=heartbeat,
            options=with_file(options, config),
            seed=seed,
            limit=limit,
            progress=progress,
            told=_told,
            stop=stop,
        )
    if json:
        as_json(run)
    else:
        _show(run, out)
    raise typer.Exit(0 if run.choice.validation.drop <= max_drop else 1)


def _told(tally: Tally) -> None:
    ends = [(s, tally.count(s)) for s in ("complete", "pruned", "failed", "running", "waiting")]
    shown = ", ".join(f"{count} {state}" for state, count in ends if count)
    note(f"{tally.wanted} trials: {shown}")


def _show(run: Run, out: Path) -> None:
    for line in run.data.notes:
        note(line)
    tuned, last = run.tuning, run.choice.validation
    assert tuned is not None
    tried = {candidate.name: candidate for candidate in run.candidates}
    rows = []
    for number in tuned.front:
        found = tried[f"trial-{number}"]
        assert found.wire is not None
        assert found.evaluation is not None
        drawn = ", ".join(f"{k} {v}" for k, v in found.options.items() if v is not None)
        mark = "best" if number == tuned.best else ""
        score = f"{found.evaluation.model:.2%}"
        rows.append((number, megabytes(found.wire.brotli), score, drawn, mark))
    table("The front", ("trial", ">br-11", f">{last.metric}", "configuration", ""), rows)
    about = "about " if run.model.wire.estimated else ""
    say(
        f"{about}{megabytes(run.model.wire.brotli)} -> {megabytes(run.outputs[0].wire.brotli)} "
        f"br-11; {last.metric} {last.reference:.2%} -> {last.model:.2%} on {last.samples} "
        f"{last.split} samples, drop {last.drop:+.2f} points (95 % {last.interval.low:+.2f} to "
        f"{last.interval.high:+.2f}). {run.choice.reason}"
    )
    if last.drop > run.choice.max_drop:
        say(f"WARNING: the drop exceeds {run.choice.max_drop:g} points.")
    say(
        f"Next: sprat distill {run.model.path} --data {run.data.source} --out … "
        f"--config {out / 'sprat.toml'}"
    )
    say(f"Report: {out / 'report.html'}")
