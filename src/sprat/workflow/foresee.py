"""``optimize --dry-run``: what would be tried and how long it takes; nothing is written."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from sprat.data.options import DataOptions
from sprat.graph.simplify import simplify
from sprat.model.nodes import name_nodes
from sprat.progress import Progress, silent
from sprat.search.candidates import proposals
from sprat.search.rate import METHOD
from sprat.workflow.budget import Budget
from sprat.workflow.setting import open_setting


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
    """

    samples: dict[str, int]
    passes: tuple[str, ...]
    candidates: tuple[str, ...]
    look_seconds: float
    least_seconds: float
    most_seconds: float
    notes: tuple[str, ...]


def foresee(
    model: Path,
    data: str | Path,
    *,
    budget: Budget | None = None,
    options: DataOptions | None = None,
    limit: int | None = None,
    progress: Progress = silent,
) -> Foresight:
    """Read a model and its data, run the original once, clean its graph, and write nothing.

    Args:
        model: The original's file.
        data: Folder, CSV, npz or ``package.module:function``.
        budget: Goal, accuracy budget and time.
        options: Preprocessing and output options; they go before ``sprat.toml``.
        limit: At most so many samples of each split.
        progress: Told how far the work is.

    Returns:
        What :func:`sprat.optimize` would try with the same arguments, and how long.

    Raises:
        InputError: The model, the data or an option is wrong.
    """
    wanted = budget or Budget()
    wanted.check()
    start = time.perf_counter()
    setting = open_setting(model, data, options, limit=limit, progress=progress)
    look = time.perf_counter() - start
    cleaned = simplify(setting.model, setting.calibration()[:2], progress=progress)
    names = [name for name, _ in proposals(name_nodes(cleaned.model))]
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
        (METHOD, *names),
        look,
        look * (2 + len(names)) + last,
        60 * wanted.minutes,
        setting.notes,
    )
