"""Measure a model in a browser: answers, times, memory, visits."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import brotli
import numpy as np
import onnx
from numpy.typing import NDArray

from sprat.browser.drive import Driver, packed, refusal
from sprat.browser.host import Host, serving, with_site
from sprat.browser.launch import Browser, launched
from sprat.browser.runtime import Runtime
from sprat.browser.single import single_nodes
from sprat.browser.types import Delivery, Frame, Loading, Proof, Seen, Timing, Visit
from sprat.browser.visit import Line, Subject, add_visit, calibrated, line, visit, visits
from sprat.errors import ThrottleError
from sprat.evaluate.evaluate import Reference
from sprat.evaluate.reading import answers, same
from sprat.model.session import Feeds, Outputs
from sprat.progress import Progress
from sprat.workflow.ground import Ground
from sprat.workflow.plan import Plan
from sprat.workflow.visitor import visit_site

#: The network of the pictures.
_FILM_MBPS = 10.0
#: How the note begins that says why nothing was visited.
NO_VISITS = "no visits"
#: Models above this are compressed at a level that does not take minutes.
_BEST_BROTLI = 8 << 20


async def refused(
    content: bytes, native: str, plan: Plan, runtime: Runtime, progress: Progress
) -> Proof:
    """Ask the browser for its own verdict on a file that native ONNX Runtime cannot take.

    Args:
        content: The file.
        native: Native ONNX Runtime's words.
        plan: What is measured.
        runtime: What computes.
        progress: Told how far the work is.

    Returns:
        A proof whose ``loading`` says no.

    Raises:
        BrowserError: The browser crashed, hung or does not start.
    """
    host = with_site(Host())
    runtime.serve(host, visited=False)
    host.add("/models/model.onnx", content)
    with serving(host):
        async with _browser(plan) as browser, browser.page() as page:
            driver = Driver(browser, page, host, runtime, progress)
            isolated = await driver.start()
            loading = await driver.open("model")
            if loading.loads:  # what this runtime lets pass is no less wrong
                loading = refusal(native)
            notes = (f"before the browser: {native}",)
            return Proof(browser.name, runtime.name, isolated, loading, notes=notes)


def _browser(plan: Plan) -> AbstractAsyncContextManager[Browser]:
    return launched(plan.browser, webgpu=plan.provider == "webgpu")


@dataclass
class _Found:
    """What was measured so far."""

    isolated: bool = False
    loading: Loading = field(default_factory=lambda: Loading(False))
    original: Loading | None = None
    answers: list[Outputs] = field(default_factory=list)
    looked: tuple[list[Outputs], list[Outputs]] | None = None
    timings: list[Timing] = field(default_factory=list)
    heap: int | None = None
    original_heap: int | None = None
    visits: list[Visit] = field(default_factory=list)
    deliveries: tuple[Delivery, ...] = ()
    frames: list[Frame] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


async def measure(ground: Ground, plan: Plan, runtime: Runtime, progress: Progress) -> Proof:
    """Measure a model that native ONNX Runtime takes.

    Args:
        ground: The samples and native's answers.
        plan: What is measured.
        runtime: What computes.
        progress: Told how far the work is.

    Returns:
        The proof.

    Raises:
        BrowserError: The browser crashed, hung or does not start.
    """
    host = _host(ground, runtime, progress, visited=plan.visits and plan.browser == "chromium")
    found = _Found(notes=list(ground.notes))
    with serving(host):
        async with _browser(plan) as browser:
            async with browser.page() as page:
                driver = Driver(browser, page, host, runtime, progress)
                found.isolated = await driver.start()
                await _load_and_answer(driver, ground, found)
                operators = await driver.operators(single_nodes(ground.model))
                if found.loading.loads and plan.provider == "wasm":
                    await _time(driver, ground, plan, found)
                elif plan.provider == "webgpu":
                    found.notes.append(_only_right(await driver.adapter()))
            if found.loading.loads and plan.visits:
                try:
                    networks = await _networks(browser, host, plan)
                except ThrottleError as error:
                    found.notes.append(f"{NO_VISITS}: {error}")
                else:
                    await _visit(browser, driver, ground, networks, plan.longest, found)
                    if plan.site is not None:
                        found.deliveries = await visit_site(
                            browser, plan.site, ground.images[0], networks, progress
                        )
            return _joined(ground, found, browser.name, runtime, operators)


async def _networks(browser: Browser, host: Host, plan: Plan) -> list[Line]:
    """Set the throttle for each network; without one that can be trusted there are no visits."""
    if browser.kind != "chromium":
        raise ThrottleError("only Chromium's network can be throttled")
    return [await calibrated(browser, host, line(mbps)) for mbps in plan.networks]


def _only_right(adapter: str) -> str:
    on = f"WebGPU computes on {adapter}" if adapter else "the page has no WebGPU adapter"
    return f"{on}; answers are compared, and nothing is timed"


def _host(ground: Ground, runtime: Runtime, progress: Progress, *, visited: bool) -> Host:
    """Serve the pages, both models and the samples."""
    host = with_site(Host(accepts=("/answers/", "/prepared/", "/seen/")))
    progress("compressing for the page", 0, 1)
    runtime.serve(host, visited=visited)
    content = ground.model.SerializeToString(deterministic=True)
    if visited:
        quality = 11 if len(content) <= _BEST_BROTLI else 9
        host.add("/models/model.onnx", brotli.compress(content, quality=quality, lgwin=22), "br")
    else:
        host.add("/models/model.onnx", content)
    if ground.original is not None:
        host.add("/models/original.onnx", ground.original.SerializeToString(deterministic=True))
    progress("compressing for the page", 1, 1)
    for i, make in enumerate(ground.feeds):
        host.add(f"/samples/{i}.safetensors", partial(_packed, make))
    for i, path in enumerate(ground.images):
        host.add(f"/images/{i}", path.read_bytes)
    return host


def _packed(make: Callable[[], Feeds]) -> bytes:
    return packed(make())


async def _load_and_answer(driver: Driver, ground: Ground, found: _Found) -> None:
    found.loading = await driver.open("model")
    if found.loading.loads:
        found.loading = await driver.runs("model", found.loading)
    if not found.loading.loads:
        await driver.close("model")
        return
    count = len(ground.feeds)
    found.answers = await driver.answers("model", count, "answering in the browser")
    if ground.preprocess is not None:
        found.looked = await driver.looks(
            "model", ground.preprocess, count, "preprocessing in the browser"
        )
    found.heap = await driver.heap("model")
    await driver.close("model")


async def _time(driver: Driver, ground: Ground, plan: Plan, found: _Found) -> None:
    for threads in plan.threads:
        if threads > 1 and (not found.isolated or (os.cpu_count() or 1) < threads):
            found.notes.append(
                f"{threads} threads were not timed: the page is not isolated, or the machine has "
                "fewer cores"
            )
            continue
        loaded = await driver.open("model", threads)
        if not loaded.loads:
            found.notes.append(f"with {threads} threads it does not load: {loaded.cause}")
            continue
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
    browser: Browser,
    driver: Driver,
    ground: Ground,
    networks: Sequence[Line],
    longest: float,
    found: _Found,
) -> None:
    host, progress = driver.host, driver.progress
    subjects = [_subject("model", driver.runtime, ground, ground.model)]
    if ground.original is not None and found.original is not None and found.original.loads:
        subjects.append(_subject("original", driver.runtime, ground, ground.original))
    for i, subject in enumerate(subjects):
        add_visit(host, subject)
        progress("visiting over slow networks", i, len(subjects))
        found.visits += await visits(browser, host, subject, networks, longest=longest)
        for film in found.visits:
            measured = film.subject == subject.name and film.seconds is not None
            if measured and film.mbps == _FILM_MBPS:
                limit = 3 * film.predicted + 60
                network = next(n for n in networks if n.mbps == _FILM_MBPS)
                once = await visit(browser, host, subject, network, limit=limit, frames=True)
                found.frames += once.frames
    progress("visiting over slow networks", len(subjects), len(subjects))


def _subject(name: str, runtime: Runtime, ground: Ground, model: onnx.ModelProto) -> Subject:
    image = ground.preprocess is not None
    return Subject(
        name,
        ground.title if name == "model" else "the original",
        runtime.addresses(),
        f"./models/{name}.onnx",
        "./images/0" if image else "./samples/0.safetensors",
        ground.preprocess,
        runtime.bytes + model.ByteSize(),
    )


def _joined(
    ground: Ground, found: _Found, browser: str, runtime: Runtime, operators: Sequence[Any]
) -> Proof:
    proof = Proof(
        browser,
        runtime.name,
        found.isolated,
        found.loading,
        original=found.original,
        timings=tuple(found.timings),
        heap=found.heap,
        original_heap=found.original_heap,
        visits=tuple(found.visits),
        deliveries=found.deliveries,
        frames=tuple(found.frames),
        operators=tuple(operators),
        notes=tuple(found.notes),
    )
    if not found.answers:
        return proof
    if ground.own is None:
        return replace(proof, difference=_difference(ground.noise, found.answers))
    answered = _joined_rows(found.answers, tuple(ground.own.outputs))
    return replace(
        proof,
        against_native=ground.own.compare(answered),
        against_original=ground.reference.compare(answered) if ground.reference else None,
        native_drop=ground.reference.compare(ground.own.outputs).drop if ground.reference else None,
        seen=_seen(ground, ground.own, found, answered),
    )


def _joined_rows(parts: Sequence[Outputs], names: Sequence[str]) -> Outputs:
    """Put the first row of each run together: the others repeat the same sample."""
    return {
        name: np.concatenate([np.atleast_1d(part[name])[:1] for part in parts])
        for name in names
        if name in parts[0]
    }


def _difference(native: Sequence[Outputs], web: Sequence[Outputs]) -> float:
    """Return the largest absolute difference of any output; infinite where a shape differs."""
    largest = 0.0
    for ours, theirs in zip(native, web, strict=True):
        for name, values in ours.items():
            got = theirs[name]
            if got.shape != values.shape:
                return float("inf")
            largest = max(largest, _gap(values.astype(np.float64), got.astype(np.float64)))
    return largest


def _gap(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    """Return the largest absolute difference; infinite where only one of them is no number."""
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    gap = float(np.where(same, 0.0, np.abs(ours - theirs)).max(initial=0.0))
    return float("inf") if np.isnan(gap) else gap


def _seen(ground: Ground, own: Reference, found: _Found, answered: Outputs) -> Seen | None:
    """Compare the page's inputs with Pillow's, and the answers that the model gives on both."""
    if found.looked is None or ground.preprocess is None:
        return None
    name = ground.preprocess["input"]
    prepared, outputs = found.looked
    exact, largest = 0, 0.0
    for make, theirs in zip(ground.feeds, prepared, strict=True):
        off = _gap(make()[name].astype(np.float64), theirs[name].astype(np.float64))
        exact += off == 0.0
        largest = max(largest, off)
    reading = own.reading
    looked = _joined_rows(outputs, tuple(own.outputs))
    equal = same(answers(answered, reading), answers(looked, reading), reading)
    return Seen(len(prepared), exact / len(prepared), largest, int(np.sum(equal < 0.5)))
