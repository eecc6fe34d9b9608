"""``prove``: what a model does in a real browser, over a real network."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from sprat.browser.runtime import choose
from sprat.browser.types import Proof
from sprat.data.options import DataOptions
from sprat.errors import ModelError, ModelNotFoundError
from sprat.model.load import load, model_file
from sprat.progress import Progress, silent
from sprat.record.schema import LogEntry
from sprat.workflow.compile import Trial, tried
from sprat.workflow.ground import Ground, on_data, on_noise
from sprat.workflow.measure import measure, refused
from sprat.workflow.plan import Plan
from sprat.workflow.run_folder import PROOF, RunFolder, own_run
from sprat.workflow.setting import Split
from sprat.workflow.visitor import check_site

#: Inputs that the lean runtime answers beside ONNX Runtime Web.
_LEAN_SAMPLES = 16


def prove(
    place: Path,
    *,
    reference: Path | None = None,
    data: str | Path | None = None,
    options: DataOptions | None = None,
    plan: Plan | None = None,
    split: Split = "test",
    record: bool = True,
    progress: Progress = silent,
) -> Proof:
    """Measure a model in a headless browser with ONNX Runtime Web.

    Args:
        place: The model's file, or a folder that ``optimize`` wrote.
        reference: The original, for every before and after; None does without.
        data: Folder, CSV, npz or ``package.module:function``; None uses seeded noise, which shows
            agreement with native ONNX Runtime but no accuracy.
        options: Preprocessing and output options; they go before ``sprat.toml``.
        plan: What is measured.
        split: ``test`` or ``val``.
        record: Put the proof into the ``run.json`` and the report beside the model, where data
            was given; visits and timings that were not made again stay as they are. A proof in
            another browser or runtime goes into the log alone.
        progress: Told how far the work is.

    Returns:
        The proof; ``loading.loads`` is False where the browser refuses the model.

    Raises:
        InputError: A model, the data or an option is wrong, or there is no browser.
        BrowserError: The browser crashed, hung or does not start.
        OutputError: A file of the user's stands where the proof would be recorded.
    """
    wanted = plan or Plan()
    wanted.check()
    runtime = choose(wanted.runtime, wanted.provider)
    path = model_file(place)
    try:
        model = load(path)
    except ModelNotFoundError:
        raise
    except ModelError as error:
        return asyncio.run(refused(path.read_bytes(), str(error), wanted, runtime, progress))
    folder = RunFolder.of(path.parent, path, reference, data)
    records = record and data is not None and own_run(path) is not None
    if records:
        folder.check(PROOF)
    if data is None:
        ground = on_noise(path, model, reference)
    else:
        ground = on_data(path, model, reference, data, options, wanted.samples, split, progress)
    if wanted.site is not None:
        check_site(wanted.site, ground)
    proof = asyncio.run(measure(ground, wanted, runtime, progress))
    if proof.loading.loads and wanted.browser == "chromium":
        feeds = tuple(make() for make in ground.feeds[:_LEAN_SAMPLES])
        proof = replace(proof, lean=tried(path, model, Trial(feeds), progress))
    if records:
        _record(folder, path, proof, ground, usual=wanted.usual())
    return proof


def _record(folder: RunFolder, path: Path, proof: Proof, ground: Ground, *, usual: bool) -> None:
    """Put a proof into the record, the log and the report beside the model."""
    run = own_run(path)
    if run is None:  # the model was made anew meanwhile
        return
    entry = LogEntry(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        operation=f"prove {path.name} in {proof.browser}",
        result=in_words(proof),
        notes=proof.runtime,
    )
    whole = _completed(proof, run.proof) if usual else run.proof
    proved = run.model_copy(update={"proof": whole, "log": (*run.log, entry)})
    folder.commit(proved, pictures=ground.pictures())


def _completed(proof: Proof, before: Proof | None) -> Proof:
    """Keep the visits and timings of an earlier proof of the same file, where none are new."""
    if before is None or not proof.loading.loads:
        return proof
    return replace(
        proof,
        visits=proof.visits or before.visits,
        deliveries=proof.deliveries or before.deliveries,
        frames=proof.frames or before.frames,
        timings=proof.timings or before.timings,
        original_heap=proof.original_heap or before.original_heap,
    )


def in_words(proof: Proof) -> str:
    """Say a proof in one line, for the log."""
    if not proof.loading.loads:
        return f"does not load: {proof.loading.cause}"
    e = proof.against_native
    said = ["loads"]
    if e is not None and e.changed is not None:
        said.append(f"{e.changed} of {e.samples} answers differ from native")
    said += [
        f"first prediction {v.seconds:.2f} s at {v.mbps:g} Mbps"
        for v in proof.visits
        if v.subject == "model" and v.seconds is not None
    ]
    return ", ".join(said)
