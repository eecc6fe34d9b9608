"""The folder of a run's results: the one writer of model, options, report, record and log."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from sprat.errors import OptionError, OutputError
from sprat.files import check_work, is_there, read_plain, sha256, sha256_file
from sprat.output import RECORD, OutputFolder
from sprat.record.history import append, check_log
from sprat.record.run import dump_run, find_run, load_run
from sprat.record.schema import Run

MODEL, OPTIONS, PREVIEW = "model.onnx", "sprat.toml", "preview.onnx"
REPORT, RUN = "report.html", "run.json"
#: What every search and training writes.
RESULTS = (MODEL, OPTIONS, REPORT, RUN)
#: What a proof writes.
PROOF = (REPORT, RUN)
#: How a report begins, which earlier versions wrote without a record.
_REPORT_START = b'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
_REPORT_TITLE = b"<title>Sprat: "


@dataclass(frozen=True)
class RunFolder:
    """A folder of results: what may be replaced in it, and how.

    Attributes:
        path: As the user gave it.
        inputs: Files that the command reads: they are never replaced.
    """

    path: Path
    inputs: tuple[Path, ...]

    @classmethod
    def of(cls, path: Path, *inputs: Path | str | None) -> RunFolder:
        """Return the folder; of the inputs, those count that are files."""
        return cls(path, tuple(Path(i) for i in inputs if i is not None and is_there(Path(i))))

    def check(self, names: Iterable[str] = RESULTS) -> None:
        """Refuse, before any work, a folder that :meth:`commit` could not write.

        Args:
            names: Files that will be written.

        Raises:
            OutputError: A file of the user's, a link or an input stands where a result goes.
        """
        self._output().check(names)
        check_log(self.path)
        check_work(self.path)

    def commit(
        self,
        run: Run,
        *,
        files: Mapping[str, bytes | str] | None = None,
        pictures: Mapping[str, Path] | None = None,
        remove: Iterable[str] = (),
    ) -> None:
        """Write a run's files, its report and its record, and the last line of its log.

        Args:
            run: The record.
            files: What the run made, by name; it is written first.
            pictures: Samples that the report shows, by name.
            remove: Results of earlier runs that this one has none of.

        Raises:
            OutputError: See :meth:`check`; or something cannot be written.
        """
        from sprat.report.render import render

        report = render(run, samples=dict(pictures or {}))
        check_log(self.path)
        self._output().write({**(files or {}), REPORT: report, RUN: dump_run(run)}, remove=remove)
        append(self.path, run.log[-1])

    def _output(self) -> OutputFolder:
        output = OutputFolder(self.path, "results", self.inputs)
        if is_there(self.path / RECORD):
            return output
        return replace(output, known=_earlier_results(self.path))


def own_run(model: Path) -> Run | None:
    """Return the record beside a model.

    Args:
        model: The model's file.

    Returns:
        The record; None where there is none of Sprat's, or one of another model.

    Raises:
        OptionError: It is of another version, or damaged.
    """
    run = find_run(model.parent / RUN)
    if run is None or sha256_file(model) not in {output.sha256 for output in run.outputs}:
        return None
    return run


def _earlier_results(folder: Path) -> dict[str, str]:
    """Return the results of a version that kept no record of its files, by their hashes.

    The model and the preview are known by the run's record, and the report by how it begins.
    ``sprat.toml`` is not known: it cannot be told from one that was edited.
    """
    try:
        content = read_plain(folder / RUN)
        run = load_run(folder / RUN)
        report = read_plain(folder / REPORT)
    except (OSError, OptionError):
        return {}
    known = {output.path: output.sha256 for output in run.outputs}
    if report.startswith(_REPORT_START) and _REPORT_TITLE in report[:1000]:
        known[REPORT] = sha256(report)
    return known | {RUN: sha256(content)}


def check_database(path: Path) -> None:
    """Refuse a file that is no database of trials.

    Args:
        path: Where ``tune`` keeps its study by default.

    Raises:
        OutputError: Something else is there, or a link.
    """
    if not is_there(path) and not path.is_symlink():
        return
    if not path.is_symlink() and path.is_file() and _has_studies(path):
        return
    raise OutputError(
        "is no study of 'sprat tune'.",
        where=str(path),
        hint="Move it away, or give another --out or --study.",
    )


def _has_studies(path: Path) -> bool:
    if not path.stat().st_size:
        return True
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as opened:
            found = opened.execute("SELECT name FROM sqlite_master WHERE name = 'studies'")
            return bool(found.fetchall())
    except sqlite3.Error:
        return False
