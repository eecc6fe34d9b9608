"""Visits to a bundle's page: the first with an empty cache, and the second."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sprat.browser.launch import Browser, within
from sprat.browser.types import Delivery
from sprat.browser.visit import Line, persistently, throttle
from sprat.errors import BrowserError
from sprat.evaluate.types import Interval

if TYPE_CHECKING:
    from playwright.async_api import Page

#: Visits that take longer than so many seconds are made once.
_SHORT = 15.0
#: Milliseconds for the cache and the service worker to settle between two visits.
_SETTLE = 3000
_FIRST_AND_SECOND = ("first", "second")
#: The visitor has the image ready: it is given in the moment that the page listens.
_GIVE = """(() => {
  const content = Uint8Array.from(atob("%s"), (c) => c.charCodeAt(0));
  new MutationObserver((_, observer) => {
    if (document.body?.dataset.listens === undefined) return;
    observer.disconnect();
    const carrier = new DataTransfer();
    carrier.items.add(new File([content], "drawing"));
    const input = document.getElementById("file");
    input.files = carrier.files;
    input.dispatchEvent(new Event("change"));
  }).observe(document, { attributes: true, childList: true, subtree: true });
})()"""


async def deliveries(
    browser: Browser,
    address: str,
    image: Path,
    network: Line,
    sent: Callable[[], int],
    *,
    visits: int = 3,
    limit: float = 300.0,
) -> tuple[Delivery, Delivery]:
    """Visit a page that ``sprat bundle --page`` wrote, twice with one cache, a few times.

    The visitor gives an image as soon as the page listens, and waits.

    Args:
        browser: A Chromium.
        address: Where the bundle is served, without the slash at the end.
        image: What the visitor gives.
        network: How fast.
        sent: Bytes of all bodies that the server has sent so far.
        visits: How many pairs.
        limit: Seconds after which a visit has failed.

    Returns:
        The first visits' figures, and the second visits'.

    Raises:
        BrowserError: There was no answer, or the browser crashed or hung.
    """
    times: dict[str, list[tuple[float, float, int]]] = {name: [] for name in _FIRST_AND_SECOND}

    async def pair(limit: float) -> list[tuple[float, float, int]]:
        found = []
        async with _visitor(browser, image, network) as page:
            for _ in _FIRST_AND_SECOND:
                before = sent()
                seconds, full = await _visit(page, address, limit)
                await page.wait_for_timeout(_SETTLE)
                found.append((seconds, full, sent() - before))
        return found

    for _ in range(visits):
        for name, once in zip(_FIRST_AND_SECOND, await persistently(pair, limit), strict=True):
            times[name].append(once)
        if times["first"][-1][1] > _SHORT:
            break
    first, second = (_joined(name, network, times[name]) for name in _FIRST_AND_SECOND)
    return first, second


async def first_answer(
    browser: Browser, address: str, image: Path, network: Line, *, limit: float = 300.0
) -> float:
    """Visit a page that ``sprat bundle --page`` wrote once, with an empty cache.

    Args:
        browser: A Chromium.
        address: Where the bundle is served, without the slash at the end.
        image: What the visitor gives.
        network: How fast.
        limit: Seconds after which a visit has failed.

    Returns:
        Seconds from the start of the navigation to the first answer.

    Raises:
        BrowserError: There was no answer, or the browser crashed or hung.
    """

    async def once(limit: float) -> float:
        async with _visitor(browser, image, network) as page:
            return (await _visit(page, address, limit))[0]

    return await persistently(once, limit)


@asynccontextmanager
async def _visitor(browser: Browser, image: Path, network: Line) -> AsyncIterator[Page]:
    """Open a page with an empty cache, over a network, for someone who has an image ready."""
    async with browser.page() as page:
        await throttle(page, network)
        script = _GIVE % base64.b64encode(image.read_bytes()).decode("ascii")
        await within(page.add_init_script(script))
        yield page


async def _visit(page: Page, address: str, limit: float) -> tuple[float, float]:
    """Return the seconds to the first answer and to the full model's."""
    await within(page.goto(f"{address}/", wait_until="commit"), limit)
    ended = "body[data-full], body[data-failed]"
    waiting = page.wait_for_selector(ended, state="attached", timeout=1000 * limit)
    await within(waiting, limit + 5)
    found = await within(page.evaluate("({...document.body.dataset})"))
    if "full" not in found:
        said = await within(page.inner_text("#status"))
        raise BrowserError(f"the bundle's page gives no answer: {said}")
    full = float(found["full"]) / 1000
    return float(found.get("preview", found["full"])) / 1000, full


def _joined(name: str, network: Line, found: Sequence[tuple[float, float, int]]) -> Delivery:
    first, full, sent = (np.array(values) for values in zip(*found, strict=True))
    return Delivery(
        network.mbps,
        network.latency,
        name,
        int(np.median(sent)),
        float(np.median(first)),
        Interval(float(first.min()), float(first.max())),
        float(np.median(full)),
        len(found),
    )
