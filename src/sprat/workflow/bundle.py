"""``bundle``: from a model to the folder that a static host serves."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from sprat.data.options import DataOptions
from sprat.delivery.bundle import Contents, Shape, make_bundle
from sprat.delivery.manifest import Manifest, ReadingEntry, Role
from sprat.delivery.pieces import stem_of
from sprat.errors import OptionError, OutputError
from sprat.evaluate.reading import Reading, guess_reading
from sprat.graph import proof
from sprat.model.load import load, model_file
from sprat.progress import Progress, silent
from sprat.record.run import load_run
from sprat.workflow.setting import open_setting

_SAMPLES = 48


def bundle(
    place: Path,
    out: Path,
    *,
    preview: Path | None = None,
    data: str | Path | None = None,
    options: DataOptions | None = None,
    shape: Shape | None = None,
    name: str = "",
    progress: Progress = silent,
) -> Manifest:
    """Write a bundle.

    Args:
        place: The model's file, or a folder that ``optimize`` wrote; its ``preview.onnx`` and what
            its ``run.json`` knows of preprocessing and classes are taken in.
        out: The folder to make; one that is a bundle already is replaced as a whole.
        preview: A small model that answers first.
        data: Samples that tell preprocessing, classes and how the output is read, where there is
            no ``run.json``.
        options: Preprocessing and output options.
        shape: How it is cut, and for which host.
        name: Of the model, for people; the file's by default.
        progress: Told how far the work is.

    Returns:
        The manifest.

    Raises:
        InputError: A model, the data or an option is wrong.
        OutputError: ``out`` is something else already, or cannot be written.
    """
    _check_place(out)
    path = model_file(place)
    model = load(path)
    first = preview or _own_preview(path)
    models: list[tuple[Role, bytes]] = []
    if first is not None:
        models.append(("preview", load(first).SerializeToString(deterministic=True)))
    models.append(("full", model.SerializeToString(deterministic=True)))
    preprocess, classes, reading = _known(path, data, options, progress)
    contents = Contents(
        stem_of(name or (path.parent.name if path.name == "model.onnx" else path.name)),
        models,
        preprocess,
        ReadingEntry(
            output=reading.output,
            kind=reading.kind,
            probability=reading.probability,
            threshold=reading.threshold,
            order=reading.order,
        ),
        classes,
    )
    chosen = shape or Shape()
    if chosen.page and preprocess is None:
        raise OptionError(
            "the page draws images; how they become the input is not known.",
            where="--page",
            hint="Give --data, or a folder that optimize wrote.",
        )
    files, manifest = make_bundle(contents, chosen, progress)
    _write(files, out)
    return manifest


def _own_preview(path: Path) -> Path | None:
    beside = path.parent / "preview.onnx"
    return beside if path.name == "model.onnx" and beside.is_file() else None


def _known(
    path: Path, data: str | Path | None, options: DataOptions | None, progress: Progress
) -> tuple[dict[str, object] | None, tuple[str, ...], Reading]:
    """Return preprocessing, classes and how the output is read."""
    if data is not None:
        setting = open_setting(path, data, options, limit=_SAMPLES, progress=progress)
        how = setting.data.preprocess
        preprocess = how.as_json() if how is not None else None
        return preprocess, tuple(setting.data.choice.classes), setting.reference.reading
    record = path.parent / "run.json"
    run = load_run(record) if record.is_file() else None
    classes = run.data.classes if run is not None else ()
    model = load(path)
    reading, _ = guess_reading(model, proof.prepare(model).outputs[0], classes=classes)
    preprocess = dict(run.data.preprocess) if run is not None and run.data.preprocess else None
    return preprocess, classes, reading


def _check_place(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise OutputError("is a file.", where=str(out), hint="Give a folder.")
    if out.is_dir() and any(out.iterdir()) and not (out / "manifest.json").is_file():
        raise OutputError(
            "holds something that is no bundle.", where=str(out), hint="Give an empty folder."
        )


def _write(files: dict[str, bytes], out: Path) -> None:
    """Make the folder beside its place and move it there, so that no half bundle is served."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
            made, old = Path(scratch) / "new", Path(scratch) / "old"
            for name, content in files.items():
                target = made / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            if out.is_dir():
                out.rename(old)
            made.rename(out)
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise OutputError(
            f"cannot be written ({error.strerror or error}).",
            where=str(out),
            hint="Check the folder's permissions and the space on the disk.",
        ) from error
