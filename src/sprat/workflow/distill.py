"""``distill``: a small student learns from an ONNX teacher, and takes its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sprat.data.options import DataOptions
from sprat.distillation.configs import Recipe, Student
from sprat.distillation.extra import require
from sprat.errors import DataNotFoundError, OptionError
from sprat.files import alone_in
from sprat.progress import Progress, silent
from sprat.record.schema import EpochRecord, Run
from sprat.workflow.budget import Clock
from sprat.workflow.run_folder import RunFolder
from sprat.workflow.setting import Setting, open_setting
from sprat.workflow.student import Asked, write


def _unheard(_epoch: EpochRecord, _left: float) -> None:
    pass


def distill(
    teacher: Path,
    data: str | Path,
    out: Path,
    *,
    student: Student | None = None,
    recipe: Recipe | None = None,
    opset: int = 17,
    max_drop: float = 2.0,
    options: DataOptions | None = None,
    seed: int = 0,
    limit: int | None = None,
    progress: Progress = silent,
    told: Callable[[EpochRecord, float], None] = _unheard,
    stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Teach a small network what an ONNX model knows, and write it as ONNX.

    The student learns from the teacher's answers on ``train`` and from the labels where there are
    any; the epoch that is best on ``val`` is kept, and ``test`` is looked at once. The result has
    the teacher's input and output, so that a page needs no change. Writes ``model.onnx``,
    ``sprat.toml``, ``run.json``, ``report.html`` and ``history.jsonl`` into ``out``; the
    teacher's answers and the state after each epoch stay under ``out/.work``, so that a killed
    training goes on where it was.

    Args:
        teacher: The teacher's file.
        data: Folder, CSV, npz or ``package.module:function``, with a split ``train``.
        out: Folder for the results.
        student: The network that learns.
        recipe: How it is taught.
        opset: Of the student's file.
        max_drop: Points that accuracy may fall against the teacher's.
        options: Preprocessing and output options; they go before ``sprat.toml``.
        seed: Of the student's first weights, the order of samples and the views.
        limit: At most so many samples of each split.
        progress: Told how far the work is.
        told: Told of each epoch, and of the seconds that are probably left.
        stop: Asked at each step; True ends the training with the best so far.

    Returns:
        The record of the run, with the curve of the training in ``distillation``. On one machine
        and number of threads, ``model.onnx`` is the same to the byte for the same seed and
        ``recipe.epochs``.

    Raises:
        PackageMissingError: torch is not installed.
        InputError: The teacher, the data or an option is wrong.
        TrainingError: The training leads nowhere.
        ExportError: The export is not what was asked for.
        OutputError: The results cannot be written, or another run writes there.
    """
    require()
    network, how = student or Student(), recipe or Recipe()
    network.check()
    how.check()
    if not 0 <= max_drop <= 100:
        raise OptionError(f"must be 0 to 100 points, got {max_drop:g}.", where="--max-drop")
    folder = RunFolder.of(out, teacher, data)
    folder.check()
    from sprat.workflow.teach import check_opset, teach

    check_opset(opset)
    clock = Clock(how.minutes, stop)
    with alone_in(out):
        with clock.stage("read and run the teacher"):
            setting = open_setting(teacher, data, options, limit=limit, progress=progress)
            check_data(setting)
        asked = Asked(teacher, out, setting, network, how, opset, max_drop, seed, limit)
        found = teach(asked, clock, progress, told, stop)
        return write(asked, found, clock, progress, folder)


def check_data(setting: Setting) -> None:
    """Refuse data that there is nothing to learn from.

    Raises:
        DataNotFoundError: There is no split ``train``.
    """
    if setting.data.train is None:
        raise DataNotFoundError(
            "there is no split train to learn from.",
            where=setting.data.source,
            hint="Put the samples into a folder train; val and test are cut from it where they "
            "are missing.",
        )
