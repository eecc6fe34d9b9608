"""What a search over students found, as other commands read it: a configuration, a command line."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import tomli_w

from sprat.data.options import as_toml, as_words
from sprat.distillation.configs import Recipe
from sprat.record.schema import CandidateRecord
from sprat.tuning.space import Draw, as_text, sides
from sprat.tuning.tally import Line
from sprat.workflow.setting import Setting, found_options
from sprat.workflow.student import recipe_words
from sprat.workflow.worker import Job, default_url

#: Fields of the recipe that a trial draws.
_SEARCHED = ("temperature", "alpha", "rate", "augment")
#: Options of ``tune`` that are called otherwise than what they search.
_FLAGS = {"size": "student-size", "bits": "bits-per-weight"}


def drawn_of(record: CandidateRecord) -> Draw:
    """Return the configuration of a trial, from what it gave."""
    options: dict[str, Any] = dict(record.options)
    size = options["size"]
    return Draw(**{**options, "size": None if size is None else sides(size)})


def as_config(job: Job, setting: Setting, record: CandidateRecord, line: Line) -> str:
    """Return a trial's configuration as a ``sprat.toml`` that ``distill`` reads.

    Args:
        job: What all trials have in common.
        setting: The teacher with its data.
        record: What the trial gave.
        line: The trial.
    """
    question = job.question
    drawn = drawn_of(record)
    student, recipe, plain = question.student_of(drawn), question.recipe_of(drawn), Recipe()
    rows: dict[str, Any] = {
        "student": student.name,
        "width": student.width,
        "student-size": None if student.size is None else as_text(student.size),
        "weights": student.weights,
        "epochs": line.said["planned"],
        "opset": question.opset,
        "seed": drawn.seed(question.seed),
    }
    for name, value in recipe.decides().items():
        if name in _SEARCHED or (name != "epochs" and value != getattr(plain, name)):
            rows[name.replace("_", "-")] = value
    table = {k: v for k, v in rows.items() if v is not None}
    return "\n".join(
        [
            f"# Trial {line.first} of sprat tune {question.teacher.name}. To make its student:",
            f"#   sprat distill {question.teacher.name} --config sprat.toml --data … --out student",
            "# and to quantize it as the trial did:",
            "#   sprat quantize student/model.onnx --method rate-distortion --data … "
            f"--bits-per-weight {drawn.bits:g} -o small.onnx",
            as_toml(found_options(setting)),
            tomli_w.dumps({"distill": table}),
        ]
    )


def as_command(job: Job, setting: Setting, workers: int, max_drop: float) -> str:
    """Return the command line that goes on with a study, or repeats it elsewhere.

    Args:
        job: What was to be done.
        setting: The teacher with its data.
        workers: Processes.
        max_drop: Points that accuracy may fall.
    """
    question = job.question
    student, recipe = question.student, question.recipe
    words = ["sprat", "tune", question.teacher.name, "--data", setting.data.source]
    words += ["--out", question.out.name, "--student", student.name]
    words += ["--trials", str(job.trials), "--workers", str(workers)]
    words += ["--seed", str(question.seed), "--opset", str(question.opset)]
    words += ["--max-drop", f"{max_drop:g}"]
    if student.weights != "none":
        words += ["--weights", student.weights]
    if recipe.epochs is None:
        words += ["--minutes-per-trial", f"{recipe.minutes:g}"]
    if job.url != default_url(question.out):
        words += ["--study", shown_url(job.url)]
    if question.limit is not None:
        words += ["--limit", str(question.limit)]
    words += as_words(setting.said)
    words += recipe_words(recipe, without=("minutes", *_SEARCHED))
    for name, text in job.space.as_json().items():
        if text:
            words += [f"--{_FLAGS.get(name, name)}", text]
    return shlex.join(words)


def shown_url(url: str) -> str:
    """Return a study's URL without a password, a file's without its folder."""
    from sprat.tuning.study import shown

    return f"sqlite:///{Path(url).name}" if url.startswith("sqlite") else shown(url)
