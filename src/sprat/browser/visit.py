"""First visits to a page over throttled networks."""

from __future__ import annotations

import asyncio
import base64
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from sprat.browser.host import Host
from sprat.browser.launch import Browser, within
from sprat.browser.types import Frame, Visit
from sprat.errors import BrowserError, PageLateError, ThrottleError
from sprat.evaluate.types import Interval

if TYPE_CHECKING:
    from playwright.async_api import Page

T = TypeVar("T")

#: Milliseconds that a request waits on a line of so many Mbps.
LATENCY = {50.0: 5.0, 10.0: 50.0, 1.0: 300.0}
#: A known transfer may differ so much from theory before no figure is trusted.
TRUST = 0.15
#: How long the known transfer takes in theory.
_KNOWN_SECONDS = 1.0
#: Requests in a row before the large files flow: the page, then the file.
_ROUND_TRIPS = 2
_SHORT = 10.0
_REPEATS = 3
#: When pictures are taken, seconds from the start of the navigation.
_FRAME_TIMES = (0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0, 45.0)
_VIEW = {"width": 320, "height": 400}
_MOST_GAIN = 1.5
_TRIES = 5
_TIMES = 3
_IN_WORKER = """() => new Promise((done) => {
  const worker = new Worker("./known.js");
  worker.onmessage = ({ data }) => done(data);
  worker.postMessage(0);
})"""
_TRANSFER = """async (address) => {
  const start = performance.now();
  await (await fetch(address)).arrayBuffer();
  return performance.now() - start;
}"""


@dataclass(frozen=True)
class Line:
    """A network.

    Attributes:
        mbps: 10^6 bits a second from the server; requests are small.
        latency: Milliseconds that each request waits.
        gain: Factor on the throughput that the browser is told, so that it keeps to ``mbps``:
            Chromium's throttle is some per cent slow on fast lines.
    """

    mbps: float
    latency: float
    gain: float = 1.0

    def seconds(self, size: int) -> float:
        """Return what theory says of one transfer."""
        return self.latency / 1000 + size * 8 / (self.mbps * 1e6)


def line(mbps: float) -> Line:
    """Return a network with the usual latency of its speed."""
    nearest = min(LATENCY, key=lambda known: abs(np.log(known / mbps)))
    return Line(mbps, LATENCY[nearest])


@dataclass(frozen=True)
class Subject:
    """What a visit loads.

    Attributes:
        name: ``original`` or ``model``.
        title: What the page says it is.
        runtime: Addresses of the runtime's files, relative to the page like the other two.
        model: Address of the model, such as ``./models/model.onnx``.
        sample: Address of the sample.
        preprocess: How an image becomes the input; None where the sample is a tensor.
        decoded: Bytes of the model and of the runtime's wasm, decoded.
    """

    name: str
    title: str
    runtime: dict[str, str]
    model: str
    sample: str
    preprocess: dict[str, Any] | None
    decoded: int


@dataclass(frozen=True)
class Once:
    """What one visit gave.

    Attributes:
        seconds: Time to the first prediction from the start of the navigation.
        begin: Seconds until the first large file was asked for.
        after: Seconds that begin when all bytes are there: the session, and one run.
        sent: Bytes of all bodies sent.
        frames: Pictures on the way, where they were wanted.
    """

    seconds: float
    begin: float
    after: float
    sent: int
    frames: tuple[Frame, ...]


def add_visit(host: Host, subject: Subject) -> None:
    """Serve the page of a visit as ``/visit-NAME.html``."""
    case = {
        "title": subject.title,
        "runtime": subject.runtime,
        "model": subject.model,
        "bytes": subject.decoded,
        "sample": subject.sample,
        "preprocess": subject.preprocess,
    }
    text = json.dumps(case).replace("<", "\\u003c")
    early = "".join(
        f'<link rel="preload" as="fetch" crossorigin href="{address}">'
        for address in (subject.runtime["wasm"], subject.model)
    )
    page = host.files["/visit.html"].body().decode()
    marked = '<script type="application/json" id="case">'
    page = page.replace(f"{marked}{{}}", f"{marked}{text}").replace("<body", f"{early}<body", 1)
    host.add(f"/visit-{subject.name}.html", page.encode())


async def throttle(page: Page, network: Line | None) -> None:
    """Slow the page and its workers down by the DevTools protocol."""
    session = await within(page.context.new_cdp_session(page))
    rate = network.gain * network.mbps * 1e6 / 8 if network is not None else -1
    await within(session.send("Network.enable"))
    await within(
        session.send(
            "Network.emulateNetworkConditions",
            {
                "offline": False,
                "latency": network.latency if network is not None else 0,
                "downloadThroughput": rate,
                # With requests throttled too, one page of twenty on a busy machine is left without
                # a byte for 65,536 packets, which is 16 s at 50 Mbps (Chromium 156; its throttle
                # counts in ticks, and 0x10000 is how far it looks ahead).
                "uploadThroughput": -1,
            },
        )
    )


async def persistently(work: Callable[[float], Awaitable[T]], limit: float) -> T:
    """Visit, and once more where a third of the limit was not enough.

    Chromium's throttle may still leave a page without a byte for most of a minute, though rarely.

    Args:
        work: Visits, within so many seconds.
        limit: Seconds after which the second visit has failed.

    Returns:
        What it gave.

    Raises:
        PageLateError: There was no answer in time.
    """
    try:
        return await work(limit / 3)
    except PageLateError:
        return await work(limit)


async def calibrated(browser: Browser, host: Host, network: Line) -> Line:
    """Set the throttle by a known transfer, and check it by another, before any figure is trusted.

    Args:
        browser: The browser.
        host: Serves the transfer.
        network: How fast it is to be.

    Returns:
        The network with its gain.

    Raises:
        ThrottleError: The page or a worker is not throttled as it was told.
    """
    size = round(_KNOWN_SECONDS * network.mbps * 1e6 / 8)
    host.add("/known", bytes(size))
    script = f"onmessage = async () => postMessage(await ({_TRANSFER})('./known'));"
    host.add("/known.js", script.encode())
    wanted, bits, tuned = network.seconds(size), size * 8 / (network.mbps * 1e6), network
    for attempt in range(_TRIES):
        # Once where that is enough; else the median of several, which one hiccup does not move.
        found = await _known(browser, host, tuned, 1 if attempt < 2 else _TIMES)
        if attempt and max(abs(seconds - wanted) for seconds in found) <= TRUST * wanted:
            return tuned
        took = (sum(found) / 2 - network.latency / 1000) / bits
        tuned = replace(tuned, gain=min(_MOST_GAIN, max(1.0, tuned.gain * took)))
    raise ThrottleError(
        f"a transfer of {wanted:.2f} s at {network.mbps:g} Mbps took {found[0]:.2f} s in the page "
        f"and {found[1]:.2f} s in a worker.",
        hint="Close other programs, and try again.",
    )


async def _known(browser: Browser, host: Host, network: Line, times: int) -> tuple[float, float]:
    """Return the seconds that the known transfer takes in a page and in its worker."""
    async with browser.page() as page:  # a page keeps the first throttle that it is given
        await within(page.goto(f"{host.address}/visit.html"))
        await throttle(page, network)
        return await _usual(page, _TRANSFER, times), await _usual(page, _IN_WORKER, times)


async def _usual(page: Page, script: str, times: int) -> float:
    """Return the median of the seconds that the known transfer takes."""
    found = [float(await within(page.evaluate(script, "./known"))) for _ in range(times)]
    return statistics.median(found) / 1000


async def visit(
    browser: Browser,
    host: Host,
    subject: Subject,
    network: Line | None,
    *,
    limit: float,
    frames: bool = False,
) -> Once:
    """Visit once with an empty cache.

    Args:
        browser: The browser.
        host: Serves the page.
        subject: What is loaded.
        network: How fast; None is unthrottled.
        limit: Seconds after which the visit has failed.
        frames: Take pictures on the way.

    Returns:
        What the visit gave.

    Raises:
        BrowserError: There was no prediction.
    """

    async def once(limit: float) -> Once:
        return await _visit(browser, host, subject, network, limit, frames)

    return await persistently(once, limit)


async def _visit(
    browser: Browser,
    host: Host,
    subject: Subject,
    network: Line | None,
    limit: float,
    frames: bool,
) -> Once:
    async with browser.page(viewport=_VIEW) as page:
        await throttle(page, network)
        host.sent = 0
        start = time.monotonic()
        pictures: list[Frame] = []
        watch = asyncio.create_task(_watch(page, subject.name, start, pictures, frames))
        try:
            address = f"{host.address}/visit-{subject.name}.html"
            await within(page.goto(address, wait_until="commit"), limit)
            done = page.wait_for_selector(
                'body:not([data-state="loading"])', state="attached", timeout=1000 * limit
            )
            await within(done, limit + 5)
            state = await within(page.evaluate("({...document.body.dataset})"))
            sent = host.sent
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
        if state["state"] != "answered":
            said = await within(page.inner_text("#answer"))
            raise BrowserError(f"the page gave no prediction: {said}")
        if frames:
            seconds = float(state["milliseconds"]) / 1000
            await _take(page, subject.name, seconds, pictures)
        after = (float(state["create"]) + float(state["run"])) / 1000
        seconds, begin = float(state["milliseconds"]) / 1000, float(state["begin"]) / 1000
        return Once(seconds, begin, after, sent, tuple(pictures))


async def _watch(page: Page, name: str, start: float, pictures: list[Frame], wanted: bool) -> None:
    for moment in _FRAME_TIMES if wanted else ():
        await asyncio.sleep(max(0.0, start + moment - time.monotonic()))
        await _take(page, name, time.monotonic() - start, pictures)


async def _take(page: Page, name: str, seconds: float, pictures: list[Frame]) -> None:
    """Take a picture; one that cannot be taken is left out.

    A film only illustrates the figures, and Playwright raises plain Errors where Chromium has no
    frame to give: that must not cost what has been measured.
    """
    with suppress(Exception):
        image = await within(page.screenshot(type="jpeg", quality=60))
        encoded = base64.b64encode(image).decode("ascii")
        pictures.append(Frame(name, round(seconds, 2), encoded))


async def visits(
    browser: Browser,
    host: Host,
    subject: Subject,
    networks: Sequence[Line],
    *,
    longest: float,
) -> list[Visit]:
    """Visit over each network.

    Args:
        browser: The browser.
        host: Serves the page.
        subject: What is loaded.
        networks: How fast.
        longest: Visits that theory puts beyond so many seconds are not made.

    Returns:
        One for each network, in their order.
    """
    frees = [await visit(browser, host, subject, None, limit=longest + 60) for _ in range(_REPEATS)]
    free = sorted(frees, key=lambda once: once.seconds)[len(frees) // 2]
    found = []
    for network in networks:
        # The page's scripts start while the bytes flow; the session waits for the last of them.
        waiting = _ROUND_TRIPS * network.latency / 1000
        flow = max(free.sent * 8 / (network.mbps * 1e6), free.seconds - free.begin - free.after)
        predicted = waiting + free.begin + flow + free.after
        times: list[float] = []
        if predicted <= longest:
            for _ in range(_REPEATS if predicted <= _SHORT else 1):
                limit = 3 * predicted + 60
                once = await visit(browser, host, subject, network, limit=limit)
                times.append(once.seconds)
        found.append(
            Visit(
                subject.name,
                network.mbps,
                network.latency,
                free.sent,
                float(np.median(times)) if times else None,
                Interval(min(times), max(times)) if times else None,
                predicted,
                len(times),
            )
        )
    return found
