"""One trial of ``tune``: teach a student, quantize it, measure it on ``val``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import onnx

from sprat.data.options import DataOptions
from sprat.distillation.configs import Augment, Recipe, Student
from sprat.evaluate.reading import MeanDivergence
from sprat.files import check_own, sha256, write_atomic
from sprat.graph.simplify import simplify
from sprat.model.nodes import name_nodes
from sprat.model.result import result_bytes
from sprat.model.wire import wire_bytes
from sprat.progress import Progress, Watch
from sprat.quantization.rate_distortion import at_bits, pack, prepare
from sprat.record.schema import CandidateRecord, EpochRecord
from sprat.sealed import remove_sealed
from sprat.search.rate import smallest_form
from sprat.tuning.space import Draw
from sprat.workflow.budget import Clock
from sprat.workflow.line import batches_of
from sprat.workflow.setting import Setting
from sprat.workflow.student import Asked

#: Samples on which a pass of the simplification is checked.
_CHECKED = 2


@dataclass(frozen=True)
class Question:
    """What all trials of a study have in common; it travels to the workers.

    Attributes:
        teacher: Its file.
        data: Folder, CSV, npz or ``package.module:function``.
        out: Folder for the results and the work.
        student: The network that learns; its width and size are searched.
        recipe: How it is taught, but for what is searched.
        opset: Of its file.
        options: Preprocessing and output options.
        seed: Of the study.
        limit: Samples of each split at most.
    """

    teacher: Path
    data: str | Path
    out: Path
    student: Student
    recipe: Recipe
    opset: int
    options: DataOptions | None
    seed: int
    limit: int | None

    def student_of(self, drawn: Draw) -> Student:
        """Return the student of a trial."""
        return replace(self.student, width=drawn.width, size=drawn.size)

    def recipe_of(self, drawn: Draw) -> Recipe:
        """Return the recipe of a trial."""
        return replace(
            self.recipe,
            temperature=drawn.temperature,
            alpha=drawn.alpha,
            rate=drawn.rate,
            augment=cast(Augment, drawn.augment),
        )

    def kept(self, digest: str) -> Path:
        """Return where a trial's model is kept."""
        return self.out / ".work" / "tuned" / f"{digest}.onnx"


def carry_out(
    question: Question,
    setting: Setting,
    drawn: Draw,
    name: str,
    *,
    progress: Progress,
    told: Callable[[EpochRecord, float], None],
    stop: Callable[[], bool],
) -> tuple[CandidateRecord, int] | None:
    """Teach a student, quantize it by rate and distortion, and measure it on ``val``.

    Killed or interrupted, the same trial goes on after the last whole epoch.

    Args:
        question: What all trials have in common.
        setting: The teacher with its data.
        drawn: The configuration.
        name: Of the record.
        progress: Told how far the work is.
        told: Told of each epoch; what it raises ends the trial.
        stop: Asked at each step.

    Returns:
        What came out, its flipped samples left out, and the epochs that were planned; None where
        ``stop`` ended it.

    Raises:
        SpratError: The configuration leads nowhere.
    """
    from sprat.workflow.teach import teach

    seed = drawn.seed(question.seed)
    clock = Clock(question.recipe.minutes, stop)
    asked = Asked(
        question.teacher,
        question.out,
        setting,
        question.student_of(drawn),
        question.recipe_of(drawn),
        question.opset,
        0.0,
        seed,
        question.limit,
    )
    states = states_of(question, drawn)
    watch, evaluation = Watch(progress), None
    with clock.stage("trial"):
        found = teach(asked, clock, progress, told, stop, states)
        with watch.until(stop):
            content = quantized(found.model, setting, drawn.bits, watch)
            evaluation = setting.reference.evaluate(onnx.load_from_string(content), watch)
    if evaluation is None or found.trained.ended == "interrupted":
        return None
    kept = question.kept(sha256(content))
    check_own(kept.parent)
    write_atomic(kept, content)
    remove_sealed(states)
    wire = wire_bytes(content)
    record = CandidateRecord(
        name=name,
        method="tune",
        options=drawn.as_json(),
        outcome="over budget",
        sha256=sha256(content),
        wire=wire,
        bits_per_weight=8 * wire.brotli / found.parameters if found.parameters else None,
        evaluation=replace(evaluation, flips=()),
        seconds=clock.stages["trial"],
    )
    return record, found.trained.planned


def candidate_name(number: int) -> str:
    """Return the name of a trial's candidate."""
    return f"trial-{number}"


def states_of(question: Question, drawn: Draw) -> Path:
    """Return the folder of a trial's training."""
    return question.out / ".work" / f"trial-{drawn.seed(question.seed):08x}"


def quantized(model: onnx.ModelProto, setting: Setting, bits: float, progress: Progress) -> bytes:
    """Quantize a student by rate and distortion.

    Args:
        model: The student.
        setting: The teacher, with the data that calibrates.
        bits: Per weight.
        progress: Told how far the work is.

    Returns:
        The file, in the smaller of its forms.

    Raises:
        NoGainError: No layer can be quantized so.
        OptionError: There are too few samples.
    """
    clean = name_nodes(simplify(model, setting.calibration()[:_CHECKED], progress=progress).model)
    batches = batches_of(setting)
    by = MeanDivergence(setting.reference.reading)
    point = at_bits(prepare(clean, batches, by, progress=progress), bits, progress)
    made = pack(clean, point, smallest_form(clean, point))
    return result_bytes(made, model, made_by="quantizing the student")
