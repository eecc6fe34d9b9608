"""``optimize --dry-run``: what would be tried and how long it takes; nothing is written."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from sprat.data.options import DataOptions
from sprat.distillation.configs import Recipe, Student
from sprat.graph.precision import in_float32
from sprat.graph.simplify import simplify
from sprat.model.nodes import name_nodes
from sprat.progress import Progress, silent
from sprat.search.candidates import FLOAT, proposals
from sprat.search.rate import METHOD
from sprat.workflow.budget import USUAL_RECIPE, Budget, Request
from sprat.workflow.distill import check_data
from sprat.workflow.line import stand_in
from sprat.workflow.setting import Setting, open_setting


@dataclass(frozen=True)
class Foresight:
    """What ``optimize`` would do.

    Attributes:
        samples: How many samples calibrate, choose and judge last.
        passes: The cleaning passes that help.
        candidates: What would be tried, in this order.
        look_seconds: What one look at the samples that choose took the original.
        least_seconds: That look once for the original and each candidate, and the last look:
            making and compressing the candidates comes on top.
        most_seconds: The time budget.
        notes: Guesses and warnings, in words.
        student: What would be taught, in words; empty without a student.
    """

    samples: dict[str, int]
    passes: tuple[str, ...]
    candidates: tuple[str, ...]
    look_seconds: float
    least_seconds: float
    most_seconds: float
    notes: tuple[str, ...]
    student: str = ""


def foresee(
    model: Path,
    data: str | Path,
    *,
    budget: Budget | None = None,
    reference: Path | None = None,
    student: Student | None = None,
    recipe: Recipe | None = None,
    options: DataOptions | None = None,
    limit: int | None = None,
    progress: Progress = silent,
) -> Foresight:
    """Read a model and its data, run the original once, clean its graph, and write nothing.

    Args:
        model: The model to make small.
        data: Folder, CSV, npz or ``package.module:function``.
        budget: Goal, accuracy budget and time.
        reference: The original, where ``model`` is a student in its place.
        student: The network that would learn and compete.
        recipe: How it would be taught.
        options: Preprocessing and output options; they go before ``sprat.toml``.
        limit: At most so many samples of each split.
        progress: Told how far the work is.

    Returns:
        What :func:`sprat.optimize` would try with the same arguments, and how long.

    Raises:
        PackageMissingError: A student is wanted, and torch is not installed.
        InputError: The model, the data or an option is wrong.
    """
    wanted, how = budget or Budget(), recipe or USUAL_RECIPE
    request = Request(model, data, wanted, reference, student, how, options, 0, limit)
    request.check()
    start = time.perf_counter()
    setting = open_setting(request.original, data, options, limit=limit, progress=progress)
    look = time.perf_counter() - start
    given = setting.model if reference is None else stand_in(model, setting)
    cleaned = simplify(in_float32(given)[0], setting.calibration()[:2], progress=progress)
    names = [METHOD, *(name for name, _ in proposals(name_nodes(cleaned.model)))]
    if reference is not None:
        names = [f"student-{name}" for name in (FLOAT, *names)]
    if student is not None:
        names += [f"student-{name}" for name in (FLOAT, METHOD)]
    parts = {
        "calibration": setting.data.calibration,
        "choice": setting.data.choice,
        "last look": setting.data.final,
    }
    samples = {name: len(part.samples) for name, part in parts.items()}
    apart = setting.data.final.digest != setting.data.choice.digest
    last = 2 * look * samples["last look"] / samples["choice"] if apart else 0.0
    return Foresight(
        samples,
        tuple(step.name for step in cleaned.steps if step.kept),
        tuple(names),
        look,
        look * (1 + len(names)) + last,
        60 * (wanted.minutes + (how.minutes if student is not None else 0.0)),
        setting.notes,
        _lesson(setting, student, how) if student is not None else "",
    )


def _lesson(setting: Setting, student: Student, recipe: Recipe) -> str:
    """Say what would be taught."""
    from sprat.workflow.teach import outlined

    check_data(setting)
    assert setting.data.train is not None
    parameters, size = outlined(setting, student)
    looks = f" looking at {'x'.join(map(str, size))}" if size else ""
    epochs = "as many epochs as fit into" if recipe.epochs is None else f"{recipe.epochs} epochs in"
    return (
        f"{student.name} with {parameters:,} parameters{looks}, by {setting.path.name} on "
        f"{len(setting.data.train.samples):,} samples of train, {epochs} at most "
        f"{recipe.minutes:g} minutes"
    )
