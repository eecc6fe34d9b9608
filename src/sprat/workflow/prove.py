"""``prove``: what a model does in a real browser, over a real network."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import brotli
import numpy as np
import onnx

from sprat.browser.chromium import Chromium, chromium
from sprat.browser.drive import RUNTIME, Driver, packed
from sprat.browser.host import Host, runtime_list, serving, with_site
from sprat.browser.single import single_nodes
from sprat.browser.types import Frame, Loading, Proof, Seen, Timing, Visit
from sprat.browser.visit import Subject, add_visit, calibrated, line, visit, visits
from sprat.data.dataset import Dataset
from sprat.data.noise import Noise
from sprat.data.options import DataOptions
from sprat.data.sources import open_data
from sprat.errors import ModelError, OptionError
from sprat.evaluate.evaluate import Reference, predict_all, reference_on
from sprat.evaluate.reading import answers, guess_reading, same
from sprat.files import sha256_file, write_atomic
from sprat.model.inspect import tensor_infos
from sprat.model.load import load, model_file, total_bytes
from sprat.model.session import Outputs
from sprat.progress import Progress, silent
from sprat.record.history import append
from sprat.record.run import dump_run, load_run
from sprat.record.schema import LogEntry
from sprat.report.render import render
from sprat.workflow.setting import Setting, is_fixed, open_setting

SAMPLES = 256
NETWORKS = (50.0, 10.0, 1.0)
#: The network of the pictures.
_FILM_MBPS = 10.0
#: Image files that browsers read.
_SEEN = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"})
_NOISE = 8
#: Models above this are compressed at a level that does not take minutes.
_BEST_BROTLI = 8 << 20


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        samples: At most so many samples.
        networks: Mbps of the visits; none are made where it is empty.
        threads: Numbers of threads that are timed.
        longest: Seconds; visits that theory puts beyond are not made but foretold.
    """

    samples: int = SAMPLES
    networks: tuple[float, ...] = NETWORKS
    threads: tuple[int, ...] = (1, 2)
    longest: float = 90.0

    def check(self) -> None:
        """Refuse values that make no sense.

        Raises:
            OptionError: A value is out of its range.
        """
        if self.samples < 1:
            raise OptionError(f"is {self.samples}, must be at least 1.", where="--samples")
        for mbps in self.networks:
            if not 0.05 <= mbps <= 10_000:
                raise OptionError(
                    f"must be Mbps from 0.05 to 10000, got {mbps:g}.", where="--networks"
                )


def prove(
    place: Path,
    *,
    reference: Path | None = None,
    data: str | Path | None = None,
    options: DataOptions | None = None,
    plan: Plan | None = None,
    split: str = "test",
    progress: Progress = silent,
) -> Proof:
    """Measure a model in a headless Chromium with ONNX Runtime Web.

    Args:
        place: The model's file, or a folder that ``optimize`` wrote.
        reference: The original, for every before and after; None does without.
        data: Folder, CSV, npz or ``package.module:function``; None uses seeded noise, which shows
            agreement with native ONNX Runtime but no accuracy.
        options: Preprocessing and output options; they go before ``sprat.toml``.
        plan: What is measured.
        split: ``test`` or ``val``.
        progress: Told how far the work is.

    Returns:
        The proof; ``loading.loads`` is False where the browser refuses the model.

    Raises:
        InputError: A model, the data or an option is wrong, or there is no browser.
        BrowserError: The browser crashed, hung or does not start.
    """
    wanted = plan or Plan()
    wanted.check()
    path = model_file(place)
    content = total_bytes(path)
    try:
        model = load(path)
    except ModelError as error:
        return asyncio.run(_refused(content, str(error), progress))
    ground = _ground(path, model, reference, data, options, wanted, split, progress)
    proof = asyncio.run(_proof(ground, wanted, progress))
    if (path.parent / "run.json").is_file():
        _record(path, proof, ground.setting)
    return proof


def _record(path: Path, proof: Proof, setting: Setting | None) -> None:
    """Put a proof into the record, the log and the report beside the model."""
    folder = path.parent
    run = load_run(folder / "run.json")
    if sha256_file(path) not in {output.sha256 for output in run.outputs}:
        return
    entry = LogEntry(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        operation=f"prove {path.name} in {proof.browser}",
        result=in_words(proof),
        notes=proof.runtime,
    )
    proved = run.model_copy(update={"proof": proof, "log": (*run.log, entry)})
    append(folder, entry)
    write_atomic(folder / "report.html", render(proved, samples=_pictures(setting)))
    write_atomic(folder / "run.json", dump_run(proved))


def in_words(proof: Proof) -> str:
    """Say a proof in one line, for the log."""
    if not proof.loading.loads:
        return f"does not load: {proof.loading.cause}"
    e = proof.against_native
    said = ["loads"]
    if e is not None:
        said.append(f"{len(e.flips)} of {e.samples} answers differ from native")
    said += [
        f"first prediction {v.seconds:.2f} s at {v.mbps:g} Mbps"
        for v in proof.visits
        if v.subject == "model" and v.seconds is not None
    ]
    return ", ".join(said)


def _pictures(setting: Setting | None) -> dict[str, Path]:
    """Return the images of all samples: the record names some beyond those that were proved."""
    if setting is None:
        return {}
    data = open_data(setting.data.source, tensor_infos(setting.model), options=setting.options)
    parts = (data.choice, data.final)
    return {s.name: s.path for part in parts for s in part.samples if s.path is not None}


@dataclass(frozen=True)
class _Ground:
    """A model that native ONNX Runtime takes, with the samples for both runtimes."""

    title: str
    model: onnx.ModelProto
    original: onnx.ModelProto | None
    dataset: Dataset
    own: Reference
    reference: Reference | None
    preprocess: dict[str, Any] | None
    setting: Setting | None
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Samples in one run."""
        return self.own.size


def _ground(
    path: Path,
    model: onnx.ModelProto,
    reference: Path | None,
    data: str | Path | None,
    options: DataOptions | None,
    plan: Plan,
    split: str,
    progress: Progress,
) -> _Ground:
    notes: list[str] = []
    setting: Setting | None = None
    if data is not None:
        setting = open_setting(
            reference or path, data, options, limit=plan.samples, split=split, progress=progress
        )
        reading = setting.reference.reading
        dataset = setting.reference.dataset
        notes += setting.notes
    size = _first_batch(model) if is_fixed(model) else 1
    if setting is None:
        dataset = Noise(tensor_infos(model), tuple(range(min(_NOISE, plan.samples))))
        notes.append("no data was given: the inputs are noise, and accuracy was not measured")
    outputs = predict_all(model, dataset, size, progress)
    if setting is None:
        reading, _ = guess_reading(model, outputs)
    own = reference_on(
        model,
        dataset,
        split if setting else "noise",
        reading,
        outputs=outputs,
        size=size,
        metric=setting.reference.metric if setting else None,
    )
    preprocess = _preprocess(setting, model, dataset, size, notes)
    return _Ground(
        path.name,
        model,
        load(reference) if reference is not None else None,
        dataset,
        own,
        setting.reference if setting is not None and reference is not None else None,
        preprocess,
        setting,
        tuple(notes),
    )


def _first_batch(model: onnx.ModelProto) -> int:
    known = {tensor.name for tensor in model.graph.initializer}
    first = next(v for v in model.graph.input if v.name not in known)
    return first.type.tensor_type.shape.dim[0].dim_value


def _preprocess(
    setting: Setting | None, model: onnx.ModelProto, dataset: Dataset, size: int, notes: list[str]
) -> dict[str, Any] | None:
    """Return how the page makes the input, where it can."""
    how = setting.data.preprocess if setting is not None else None
    if how is None:
        return None
    known = {tensor.name for tensor in model.graph.initializer}
    inputs = [v.name for v in model.graph.input if v.name not in known]
    if size != 1 or inputs != [how.input]:
        notes.append("the page cannot make this input: it has a fixed batch, or several inputs")
        return None
    if any(s.path is None or s.path.suffix.lower() not in _SEEN for s in dataset.samples):
        notes.append("some samples are images that browsers do not read, such as TIFF")
        return None
    return how.as_json()


async def _refused(content: bytes, native: str, progress: Progress) -> Proof:
    """Ask the browser for its own verdict on a file that native ONNX Runtime cannot take."""
    host = with_site(Host())
    host.add("/models/model.onnx", content)
    with serving(host):
        async with chromium() as browser, browser.page() as page:
            driver = Driver(browser, page, host, progress)
            isolated = await driver.start()
            loading = await driver.open("model")
            notes = (f"native ONNX Runtime: {native}",)
            return Proof(browser.name, _runtime(), isolated, loading, notes=notes)


@dataclass
class _Found:
    """What was measured so far."""

    isolated: bool = False
    loading: Loading = field(default_factory=lambda: Loading(False))
    original: Loading | None = None
    answers: Outputs | None = None
    looked: tuple[Outputs, Outputs] | None = None
    timings: list[Timing] = field(default_factory=list)
    heap: int | None = None
    original_heap: int | None = None
    visits: list[Visit] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


async def _proof(ground: _Ground, plan: Plan, progress: Progress) -> Proof:
    host = _host(ground, progress)
    found = _Found(notes=list(ground.notes))
    with serving(host):
        async with chromium() as browser:
            async with browser.page() as page:
                driver = Driver(browser, page, host, progress)
                found.isolated = await driver.start()
                await _load_and_answer(driver, ground, found)
                operators = await driver.operators(single_nodes(ground.model))
                if found.loading.loads:
                    await _time(driver, ground, plan, found)
            if found.loading.loads and plan.networks:
                await _visit(browser, host, ground, plan, found, progress)
            return _joined(ground, found, browser.name, operators)


def _host(ground: _Ground, progress: Progress) -> Host:
    """Serve the pages, both models and the samples."""
    host = with_site(Host(accepts=("/answers/", "/prepared/", "/seen/")))
    progress("compressing for the page", 0, 1)
    content = ground.model.SerializeToString(deterministic=True)
    quality = 11 if len(content) <= _BEST_BROTLI else 9
    host.add("/models/model.onnx", brotli.compress(content, quality=quality, lgwin=22), "br")
    if ground.original is not None:
        host.add("/models/original.onnx", ground.original.SerializeToString(deterministic=True))
    progress("compressing for the page", 1, 1)
    for i, sample in enumerate(ground.dataset.samples):
        host.add(f"/samples/{i}.safetensors", _feeds(ground, i))
        if ground.preprocess is not None and sample.path is not None:
            host.add(f"/images/{i}", sample.path.read_bytes)
    return host


def _feeds(ground: _Ground, index: int) -> Any:
    return lambda: packed(ground.dataset.batch([index] * ground.size))


async def _load_and_answer(driver: Driver, ground: _Ground, found: _Found) -> None:
    found.loading = await driver.open("model")
    if not found.loading.loads:
        return
    count = len(ground.dataset.samples)
    outputs = await driver.answers("model", count, "answering in the browser")
    found.answers = _one_each(outputs, ground.size)
    if ground.preprocess is not None:
        found.looked = await driver.looks(
            "model", ground.preprocess, count, "preprocessing in the browser"
        )
    found.heap = await driver.heap("model")
    await driver.close("model")


def _one_each(outputs: Outputs, size: int) -> Outputs:
    """Keep one row of each batch: the batches repeat one sample."""
    return {name: values[::size] for name, values in outputs.items()}


async def _time(driver: Driver, ground: _Ground, plan: Plan, found: _Found) -> None:
    for threads in plan.threads:
        if threads > 1 and (not found.isolated or (os.cpu_count() or 1) < threads):
            found.notes.append(f"{threads} threads were not timed: the machine has fewer cores")
            continue
        await driver.open("model", threads)
        first = await driver.first("model")
        names = ["model"]
        if ground.original is not None:
            loading = await driver.open("original", threads)
            found.original = found.original or loading
            if loading.loads:
                await driver.first("original")
                names.append("original")
        found.timings.append(await driver.timings(names, threads, first))
        if threads == 1 and len(names) > 1:
            found.original_heap = await driver.heap("original")
        for name in names:
            await driver.close(name)


async def _visit(
    browser: Chromium, host: Host, ground: _Ground, plan: Plan, found: _Found, progress: Progress
) -> None:
    networks = [await calibrated(browser, host, line(mbps)) for mbps in plan.networks]
    subjects = [_subject("model", ground, ground.model)]
    if ground.original is not None and found.original is not None and found.original.loads:
        subjects.append(_subject("original", ground, ground.original))
    for i, subject in enumerate(subjects):
        add_visit(host, subject)
        progress("visiting over slow networks", i, len(subjects))
        found.visits += await visits(browser, host, subject, networks, longest=plan.longest)
        for film in found.visits:
            measured = film.subject == subject.name and film.seconds is not None
            if measured and film.mbps == _FILM_MBPS:
                limit = 3 * film.predicted + 60
                network = next(n for n in networks if n.mbps == _FILM_MBPS)
                once = await visit(browser, host, subject, network, limit=limit, frames=True)
                found.frames += once.frames
    progress("visiting over slow networks", len(subjects), len(subjects))


def _subject(name: str, ground: _Ground, model: onnx.ModelProto) -> Subject:
    files = runtime_list()["files"]
    wasm = files[Path(RUNTIME["wasm"]).name]["bytes"]
    image = ground.preprocess is not None
    return Subject(
        name,
        ground.title if name == "model" else "the original",
        RUNTIME,
        f"/models/{name}.onnx",
        "/images/0" if image else "/samples/0.safetensors",
        ground.preprocess,
        wasm + model.ByteSize(),
    )


def _joined(ground: _Ground, found: _Found, browser: str, operators: Sequence[Any]) -> Proof:
    proof = Proof(
        browser,
        _runtime(),
        found.isolated,
        found.loading,
        original=found.original,
        timings=tuple(found.timings),
        heap=found.heap,
        original_heap=found.original_heap,
        visits=tuple(found.visits),
        frames=tuple(found.frames),
        operators=tuple(operators),
        notes=tuple(found.notes),
    )
    if found.answers is None:
        return proof
    return replace(
        proof,
        against_native=ground.own.compare(found.answers),
        against_original=ground.reference.compare(found.answers) if ground.reference else None,
        seen=_seen(ground, found),
    )


def _seen(ground: _Ground, found: _Found) -> Seen | None:
    """Compare the page's inputs with Pillow's, and the answers that the model gives on both."""
    if found.looked is None or found.answers is None or ground.preprocess is None:
        return None
    name = ground.preprocess["input"]
    prepared, outputs = found.looked
    count = len(ground.dataset.samples)
    exact, largest = 0, 0.0
    for i in range(count):
        ours = np.asarray(ground.dataset.batch([i])[name], np.float64)[0]
        off = float(np.abs(ours - prepared[name][i].astype(np.float64)).max(initial=0.0))
        exact += off == 0.0
        largest = max(largest, off)
    reading = ground.own.reading
    equal = same(answers(found.answers, reading), answers(outputs, reading), reading)
    return Seen(count, exact / count, largest, int(np.sum(equal < 0.5)))


def _runtime() -> str:
    found = runtime_list()
    return f"{found['package']} {found['version']}"
