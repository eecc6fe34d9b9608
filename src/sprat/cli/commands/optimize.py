"""``sprat optimize``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sprat.cli.commands.prove import show
from sprat.cli.options import (
    DataOption,
    JsonOption,
    LimitOption,
    ModelArgument,
    OnlyOutputsOption,
    SeedOption,
    with_data_options,
)
from sprat.cli.screen import as_json, bar, interruptible, megabytes, note, say, table
from sprat.cli.teaching import EpochsOption, MirrorOption, StudentSizeOption, sides, tell
from sprat.errors import BrowserError, BrowserMissingError, OptionError

if TYPE_CHECKING:
    from sprat.distillation.configs import Recipe, Student
    from sprat.record.schema import CandidateRecord, Run


@with_data_options
def command(
    model: ModelArgument,
    data: DataOption,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")],
    goal: Annotated[
        Literal["small", "fast"],
        typer.Option("--goal", help="Fewest bytes, or least time within 1.7 times those."),
    ] = "small",
    max_drop: Annotated[
        float, typer.Option("--max-drop", help="Points that accuracy may fall.")
    ] = 1.0,
    minutes: Annotated[
        float,
        typer.Option(
            "--minutes",
            help="Time for the whole; the best so far wins. At least one point is made, and where "
            "nothing holds the budget, int8 weights and float16.",
        ),
    ] = 5.0,
    reference: Annotated[
        Path | None,
        typer.Option("--reference", help="The original, where MODEL is a student in its place."),
    ] = None,
    student: Annotated[
        str | None,
        typer.Option(
            "--student", help="Teach this network, as distill does; the better of both wins."
        ),
    ] = None,
    student_minutes: Annotated[
        float | None,
        typer.Option("--student-minutes", help="Time for teaching it; 30, besides --minutes."),
    ] = None,
    epochs: EpochsOption = None,
    width: Annotated[
        float | None, typer.Option("--width", help="Factor on the student's channels.")
    ] = None,
    student_size: StudentSizeOption = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", help="The student's first: none, imagenet (a download), a file."),
    ] = None,
    mirror: MirrorOption = None,
    preview: Annotated[
        int | None,
        typer.Option("--preview", help="Also write preview.onnx, the best under so many bytes."),
    ] = None,
    prove: Annotated[
        bool, typer.Option("--prove", help="Then prove the result in a real browser.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only say what would be tried and how long; write nothing."),
    ] = False,
    workers: Annotated[
        str | None,
        typer.Option(
            "--workers",
            help="Who takes part: local:N processes on this machine, or the nodes of "
            "dask://HOST:PORT; the same bytes, sooner.",
        ),
    ] = None,
    only_outputs: OnlyOutputsOption = False,
    seed: SeedOption = 0,
    limit: LimitOption = None,
    json: JsonOption = False,
    options: Any = None,
) -> None:
    """Find the smallest model that still does its job, and prove it.

    Cleans the graph, proposes candidates, measures each on val, chooses within the budget, and
    looks once at test. Writes model.onnx, sprat.toml, run.json, report.html and
    history.jsonl. Killed or interrupted, the same command goes on where it was. Exit code 1 if
    nothing smaller holds the budget or the last look misses it.

    With --student a small network first learns from the model (needs torch: in the clone, pip
    install '.[distill]'), and both compete. With --reference a student that was taught already is
    held against its teacher.

    \b
    Examples:
      sprat optimize model.onnx --data photos --out small
      sprat optimize model.onnx --data photos --out fast --goal fast --max-drop 0.5
      sprat optimize model.onnx --data photos --out small --prove
      sprat optimize model.onnx --data photos --out small --workers local:4
      sprat optimize model.onnx --data photos --out small --workers dask://10.0.0.1:8786
      sprat optimize model.onnx --data photos --out small --dry-run
      sprat optimize model.onnx --data photos --out small --student mobilenet_v3_small
      sprat optimize student/model.onnx --data photos --out small --reference model.onnx
      sprat optimize model.onnx --data tensors.npz --out small --output-kind classes
    """
    from sprat.crew.workers import Workers
    from sprat.workflow.budget import Budget
    from sprat.workflow.optimize import optimize

    crew = None if workers is None else Workers.parse(workers)
    budget = Budget(goal=goal, max_drop=max_drop, minutes=minutes, preview=preview)
    network, recipe = _lesson(
        student,
        width=width,
        student_size=student_size,
        weights=weights,
        epochs=epochs,
        student_minutes=student_minutes,
        mirror=mirror,
    )
    asked: dict[str, Any] = {
        "budget": budget,
        "reference": reference,
        "student": network,
        "recipe": recipe,
        "options": options,
        "limit": limit,
    }
    if dry_run:
        _foretell(model, data, asked, json)
        return
    with interruptible() as stop, bar(quiet=json) as progress:
        run = optimize(
            model,
            data,
            out,
            **asked,
            only_outputs=only_outputs,
            seed=seed,
            workers=crew,
            progress=progress,
            told=tell,
            stop=stop,
        )
    if prove and run.choice.candidate != "original":
        run = _proved(run, reference or model, data, out, options, json)
    if json:
        as_json(run)
    else:
        _show(run, out)
    raise typer.Exit(0 if _holds(run) else 1)


def _lesson(name: str | None, **given: Any) -> tuple[Student | None, Recipe | None]:
    """Return who learns and how; options of the lesson without a student are a mistake."""
    from sprat.distillation.configs import Recipe, Student
    from sprat.workflow.budget import USUAL_RECIPE

    said = {key: value for key, value in given.items() if value is not None}
    if name is None:
        if said:
            flag = next(iter(said)).replace("_", "-")
            raise OptionError("needs --student.", where=f"--{flag}")
        return None, None
    student = Student(
        name, said.get("width", 1.0), sides(given["student_size"]), said.get("weights", "none")
    )
    minutes = said.get("student_minutes", USUAL_RECIPE.minutes)
    return student, Recipe(epochs=given["epochs"], minutes=minutes, mirror=given["mirror"])


def _foretell(model: Path, data: str, asked: dict[str, Any], json: bool) -> None:
    from sprat.workflow.foresee import foresee

    with bar(quiet=json) as progress:
        found = foresee(model, data, **asked, progress=progress)
    if json:
        as_json(found)
        return
    for line in found.notes:
        note(line)
    say("Samples: " + ", ".join(f"{count} for {name}" for name, count in found.samples.items()))
    say(f"Cleaning that helps: {', '.join(found.passes) or 'none'}")
    if found.student:
        say(f"Would teach: {found.student}")
    say(f"Would try: {', '.join(found.candidates)}")
    say(
        f"Time: at least {found.least_seconds:.0f} s for looking at the samples "
        f"({found.look_seconds:.1f} s a look), at most about {found.most_seconds:.0f} s."
    )
    say("Nothing was written.")


def _proved(run: Run, model: Path, data: str, out: Path, options: Any, quiet: bool) -> Run:
    """Run ``sprat prove``; without a browser the search's result stands, and is said so."""
    from sprat.workflow.prove import prove

    try:
        with bar(quiet=quiet) as progress:
            proof = prove(out, reference=model, data=data, options=options, progress=progress)
    except (BrowserMissingError, BrowserError) as error:
        note(f"WARNING: the proof in a browser is missing: {error}")
        return run
    return run.model_copy(update={"proof": proof})


def _holds(run: Run) -> bool:
    last = run.choice.test or run.choice.validation
    return run.choice.candidate != "original" and last.drop <= run.choice.max_drop


def _is_taken_along(run: Run) -> bool:
    """Say whether 'sprat bundle' would bring the preview."""
    from sprat.workflow.bundle import WORTH

    wire = run.preview.wire if run.preview is not None else None
    return wire is not None and wire.brotli < WORTH * run.outputs[0].wire.brotli


def _show(run: Run, out: Path) -> None:
    for line in run.data.notes:
        note(line)
    table(
        "Candidates",
        ["name", ">br-11", ">bits/weight", ">drop", "95 %", ">agreement", ">time", "outcome"],
        [_row(candidate) for candidate in run.candidates],
    )
    if (taught := run.distillation) is not None:
        say(
            f"{taught.student}, {taught.parameters:,} parameters, learned for {len(taught.curve)} "
            f"of {taught.planned} epochs ({taught.ended})."
        )
    spent = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in run.timings.items())
    say(f"Time: {spent}.")
    say("")
    if run.choice.candidate == "original":
        say(f"Nothing better within the budget of {run.choice.max_drop:g} points.")
    else:
        _verdict(run)
    if run.preview is not None and run.preview.wire is None:
        note(f"WARNING: there is no preview: {run.preview.note}")
    elif run.preview is not None and not _is_taken_along(run):
        note(
            "WARNING: preview.onnx is not much smaller than model.onnx, so that 'sprat bundle' "
            "leaves it out. Give --preview fewer bytes."
        )
    if run.proof is not None:
        say("")
        show(run.proof)
    say(f"Report: {out / 'report.html'}")


def _verdict(run: Run) -> None:
    last = run.choice.test or run.choice.validation
    before, after = run.model.wire, run.outputs[0].wire
    about = "about " if before.estimated else ""
    say(
        f"{run.choice.candidate}: {about}{megabytes(before.brotli)} -> {megabytes(after.brotli)} "
        f"br-11 ({before.brotli / after.brotli:.0f} times smaller)."
    )
    say(
        f"{last.metric} {last.reference:.2%} -> {last.model:.2%} on {last.samples} {last.split} "
        f"samples, drop {last.drop:+.2f} points (95 % {last.interval.low:+.2f} to "
        f"{last.interval.high:+.2f}), agreement {last.agreement:.2%}."
    )
    if last.drop > run.choice.max_drop:
        say(f"WARNING: on {last.split} the drop exceeds the budget of {run.choice.max_drop:g}.")


def _row(c: CandidateRecord) -> tuple[str, ...]:
    e, speed = c.evaluation, c.speed
    return (
        c.name,
        _bytes(c),
        f"{c.bits_per_weight:.2f}" if c.bits_per_weight is not None else "",
        f"{e.drop:+.2f}" if e else "",
        f"{e.interval.low:+.2f} to {e.interval.high:+.2f}" if e else "",
        f"{e.agreement:.2%}" if e else "",
        f"{speed.ratio:.2f}" if speed else "",
        f"{c.outcome}{': ' + c.note if c.note else ''}",
    )


def _bytes(c: CandidateRecord) -> str:
    if c.wire is None:
        return ""
    return ("about " if c.wire.estimated else "") + megabytes(c.wire.brotli)
