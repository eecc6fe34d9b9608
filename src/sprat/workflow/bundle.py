"""``bundle``: from a model to the folder that a static host serves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sprat.data.options import FLAGS, DataOptions
from sprat.delivery.bundle import Contents, Shape, make_bundle, names_of
from sprat.delivery.earlier import earlier_files
from sprat.delivery.manifest import Manifest, Role, read_manifest
from sprat.delivery.pieces import stem_of
from sprat.errors import NoGainError, OptionError
from sprat.evaluate.reading import guess_reading
from sprat.files import is_there, sha256_file
from sprat.graph import proof
from sprat.model.load import load, model_file
from sprat.model.result import result_bytes
from sprat.model.wire import brotli_bytes
from sprat.output import RECORD, OutputFolder
from sprat.progress import Progress, silent
from sprat.record.schema import ReadingRecord, Run
from sprat.workflow.lean import Tell, Wanted, with_runtime
from sprat.workflow.run_folder import own_run
from sprat.workflow.setting import check_class, open_setting, reading_record
from sprat.workflow.step import smallest_preview

#: A preview must be this much smaller to be worth a download of its own.
WORTH = 0.7
_SAMPLES = 48


def bundle(
    place: Path,
    out: Path,
    *,
    preview: Path | None = None,
    preview_bytes: int | None = None,
    data: str | Path | None = None,
    options: DataOptions | None = None,
    shape: Shape | None = None,
    name: str = "",
    runtime: Wanted = "auto",
    then: Path | None = None,
    release: int | None = None,
    progress: Progress = silent,
    tell: Tell = lambda _: None,
) -> Manifest:
    """Write a bundle.

    Args:
        place: The model's file, or a folder that ``optimize`` wrote; its ``preview.onnx`` and what
            its ``run.json`` knows of preprocessing and classes are taken in.
        out: The folder. Of an earlier bundle there, what this one has not is removed; all other
            files stay.
        preview: A small model that answers first.
        preview_bytes: Make one, under so many br-11 bytes, from the model's own float weights.
        data: Samples that tell preprocessing, classes and how the output is read, where there is
            no ``run.json``.
        options: Preprocessing and output options.
        shape: How it is cut, and for which host.
        name: Of the model, for people; the file's by default.
        runtime: What computes in the page: ``ort``, ``lean``, or ``auto``: the one that answers a
            first visitor earlier at 10 Mbps.
        then: A model that takes over in ONNX Runtime Web once the lean runtime has answered: one
            that ``optimize --goal fast`` made, where that is faster.
        release: Which release it is: the loader refuses one before the last that it had. By
            default that of the bundle in ``out`` where nothing changes, else the next; 1 for the
            first.
        progress: Told how far the work is.
        tell: Told in one line why ``auto`` took a runtime.

    Returns:
        The manifest.

    Raises:
        InputError: A model, the data or an option is wrong, or the release before the one in
            ``out``; the lean runtime cannot do a node.
        LeanMismatchError: The lean runtime answers otherwise than native.
        OutputError: A file of the user's, a link or an input stands where one of the bundle goes,
            or it cannot be written.
    """
    chosen = shape or Shape()
    before = _replaced(out, release)
    if data is None and options is not None and options != DataOptions():
        said = next(iter(options.model_dump(exclude_none=True)))
        raise OptionError("needs --data.", where=f"--{FLAGS.get(said, said)}")
    path = model_file(place)
    inputs = tuple(p for p in (path, preview, then) if p is not None)
    folder = _folder(out, inputs, before)
    folder.check(names_of(chosen))
    full = load(path).SerializeToString(deterministic=True)
    run = own_run(path)
    known = _known(path, run) if data is None else _from_data(path, data, options, progress)
    models: list[tuple[Role, bytes]] = [("full", full)]
    small = _preview(path, run, preview)
    if preview_bytes is not None:
        small = _made_preview(path, preview, preview_bytes, data, options, progress)
    if small is not None:
        given = preview is not None or preview_bytes is not None
        if given or _is_worth_it(small, full, tell):
            models.insert(0, ("preview", small))
    contents = Contents(
        stem_of(name or (path.parent.name if path.name == "model.onnx" else path.name)),
        models,
        known.preprocess,
        known.reading,
        known.classes,
        release=release,
        before=before,
    )
    if then is not None:
        if runtime == "ort":
            raise OptionError("needs --runtime lean or auto.", where="--then")
        last = load(model_file(then)).SerializeToString(deterministic=True)
        contents = replace(contents, then=last)
    if chosen.page:
        _check_page(known)
    files, manifest = with_runtime(
        path, contents, runtime, lambda c: make_bundle(c, chosen, progress), progress, tell
    )
    folder.write_all(dict(sorted(files.items(), key=lambda item: _turn(item[0]))))
    return manifest


def _replaced(out: Path, release: int | None) -> Manifest | None:
    """Return the manifest that will be replaced; a release before it would reach nobody again."""
    before = read_manifest(out)
    least = before.release if before is not None else 1
    if release is not None and release < least:
        raise OptionError(
            f"must be {least} or more, got {release}: visitors refuse what is older than they had.",
            where="--release",
            hint="To go back to an older model, bundle it as the next release.",
        )
    return before


def _folder(out: Path, inputs: tuple[Path, ...], before: Manifest | None) -> OutputFolder:
    """Return the folder; without a record, the manifest there tells which files are Sprat's."""
    known = {}
    if before is not None and not is_there(out / RECORD):
        known = earlier_files(out, before)
    return OutputFolder(out, "bundle", inputs, known)


def _turn(name: str) -> tuple[int, str]:
    """Order a bundle's files: what is named by others comes before them, the manifest last.

    So a page that is served while it is written, or after a kill, finds all that it asks for.
    """
    plain = name.removesuffix(".br").removesuffix(".gz")
    late = ("loader.js", "index.html", "sw.js", "manifest.json")
    return (late.index(plain) + 2 if plain in late else int("/" not in plain)), name


@dataclass(frozen=True)
class _Known:
    """What is known of a model's input and output."""

    preprocess: dict[str, Any] | None
    classes: tuple[str, ...]
    reading: ReadingRecord


def _is_worth_it(preview: bytes, model: bytes, tell: Tell) -> bool:
    """Say whether a preview saves enough of what a visitor waits for; tell where it does not."""
    first, whole = brotli_bytes(preview), brotli_bytes(model)
    if first < WORTH * whole:
        return True
    tell(
        f"preview.onnx ({first / 1e3:.1f} kB) is left out: it is not much smaller than the model "
        f"({whole / 1e3:.1f} kB)."
    )
    return False


def _preview(path: Path, run: Run | None, given: Path | None) -> bytes | None:
    first = given or _own_preview(path, run)
    return None if first is None else load(first).SerializeToString(deterministic=True)


def _made_preview(
    path: Path,
    given: Path | None,
    limit: int,
    data: str | Path | None,
    options: DataOptions | None,
    progress: Progress,
) -> bytes:
    if given is not None:
        raise OptionError("give a preview or its bytes, not both.", where="--preview-bytes")
    if limit <= 0:
        raise OptionError(f"must be above 0 bytes, got {limit}.", where="--preview-bytes")
    if data is None:
        raise OptionError("needs real samples.", where="--preview-bytes", hint="Give --data.")
    try:
        made = smallest_preview(path, data, limit, options=options, progress=progress)
    except NoGainError as error:
        raise OptionError(
            f"no preview can be made of {path.name}: its weights are no longer float.",
            where="--preview-bytes",
            hint="Make it with the model: 'sprat optimize --preview BYTES', or give --preview.",
        ) from error
    return result_bytes(made, load(path), made_by="the preview")


def _own_preview(path: Path, run: Run | None) -> Path | None:
    """Return the preview that the same run made."""
    beside = path.parent / "preview.onnx"
    if run is None or path.name != "model.onnx" or not beside.is_file():
        return None
    return beside if sha256_file(beside) in {output.sha256 for output in run.outputs} else None


def _from_data(
    path: Path, data: str | Path, options: DataOptions | None, progress: Progress
) -> _Known:
    setting = open_setting(path, data, options, limit=_SAMPLES, progress=progress)
    how = setting.data.preprocess
    return _Known(
        how.as_json() if how is not None else None,
        tuple(setting.data.choice.classes),
        reading_record(setting.reference.reading),
    )


def _known(path: Path, run: Run | None) -> _Known:
    """Return what the record says; without one, what noise through the model lets guess."""
    if run is not None and run.data.reading is not None:
        return _Known(dict(run.data.preprocess) or None, run.data.classes, run.data.reading)
    model = load(path)
    reading, _ = guess_reading(model, proof.prepare(model).outputs[0])
    return _Known(None, (), reading_record(reading))


def _check_page(known: _Known) -> None:
    if known.preprocess is None:
        raise OptionError(
            "the page draws images; how they become the input is not known.",
            where="--page",
            hint="Give --data, or a folder that optimize wrote.",
        )
    check_class(
        known.reading.kind,
        where="--page",
        hint="Make the bundle without it, and use loader.js in a page of your own.",
    )
