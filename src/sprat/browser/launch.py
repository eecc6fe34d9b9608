"""Drive a headless browser, within limits of time, and leave no process behind."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from sprat.browser.extra import require
from sprat.browser.find import Found, Kind, find_browser
from sprat.errors import BrowserError, PageLateError

if TYPE_CHECKING:
    from playwright.async_api import Browser as Handle
    from playwright.async_api import BrowserContext, Page

T = TypeVar("T")

#: Seconds for what takes a moment: to start, to open a page, to close.
_MOMENT = 60.0
#: What is over need not be waited for so long.
_CLOSE = 10.0
#: Nothing that a browser tells its maker, and no start page.
_FLAGS = (
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--disable-extensions",
    "--mute-audio",
)
#: Where there is no graphics card, WebGPU computes on the processor.
_WEBGPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
#: Playwright drives an installed Firefox through WebDriver BiDi under this name.
_INSTALLED_FIREFOX = "moz-firefox"
_TITLES: dict[Kind, str] = {"chromium": "Chromium", "firefox": "Firefox", "webkit": "WebKit"}


@dataclass
class Browser:
    """A running browser.

    Attributes:
        handle: Playwright's.
        kind: Which.
        name: Name and version.
    """

    handle: Handle
    kind: Kind
    name: str
    _console: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def page(self, **options: Any) -> AsyncIterator[Page]:
        """Open a page in a context of its own: an empty cache, no cookies.

        Args:
            **options: Of Playwright's ``new_context``, such as ``viewport``.

        Yields:
            The page.
        """
        context: BrowserContext = await within(self.handle.new_context(**options))
        try:
            page = await within(context.new_page())
            page.on("console", lambda message: self._heard(message.type, message.text))
            page.on("pageerror", lambda error: self._heard("error", str(error)))
            page.on("crash", lambda _: self._heard("error", "the page crashed"))
            yield page
        finally:
            with suppress(Exception):  # a browser that died has closed its contexts already
                await within(context.close(), _CLOSE)

    def _heard(self, kind: str, text: str) -> None:
        if kind == "error":
            self._console.append(text)

    def errors(self) -> list[str]:
        """Return the errors on the console since this was last asked."""
        found, self._console = self._console, []
        return found


@asynccontextmanager
async def launched(kind: Kind = "chromium", *, webgpu: bool = False) -> AsyncIterator[Browser]:
    """Start a browser and end it, whatever happens.

    Args:
        kind: Which.
        webgpu: Offer WebGPU also where there is no graphics card (Chromium only).

    Yields:
        The browser.

    Raises:
        BrowserMissingError: There is none, or a package of the extra ``web`` is missing.
        BrowserError: It does not start.
    """
    require()
    from playwright.async_api import async_playwright

    found = find_browser(kind)
    before = _children()
    started: set[Any] = set()
    # The browser's own folder, so that what a killed one leaves behind goes with it.
    with tempfile.TemporaryDirectory(prefix="sprat-", ignore_cleanup_errors=True) as scratch:
        playwright = await async_playwright().start()
        try:
            options = launch_options(kind, found, webgpu=webgpu)
            handle = await _launch(getattr(playwright, kind), found, scratch, options)
            try:
                yield Browser(handle, kind, f"{_TITLES[kind]} {handle.version}")
            finally:  # a renderer that hangs outlives its browser, and is nobody's child then
                started = _children() - before
            with suppress(Exception):
                await within(handle.close(), _CLOSE)
        finally:
            with suppress(Exception):
                await asyncio.wait_for(playwright.stop(), _CLOSE)
            _end(started | (_children() - before))


def launch_options(kind: Kind, found: Found, *, webgpu: bool = False) -> dict[str, Any]:
    """Return what Playwright's ``launch`` must be told for a browser, beside its path."""
    if kind == "chromium":
        return {"args": [*_FLAGS, *_sandbox(), *(_WEBGPU if webgpu else ())]}
    if kind == "firefox" and not found.downloaded:
        return {"channel": _INSTALLED_FIREFOX}
    return {}


async def _launch(engine: Any, found: Found, scratch: str, options: dict[str, Any]) -> Handle:
    try:
        handle: Handle = await engine.launch(
            executable_path=found.path,
            env={**os.environ, "TMPDIR": scratch},
            handle_sigint=False,
            timeout=1000 * _MOMENT,
            **options,
        )
    except Exception as error:  # Playwright raises plain Errors, in time
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise BrowserError(
            f"the browser does not start: {lines[0] if lines else type(error).__name__}",
            where=str(found.path),
            hint="Start it by hand to see why, or name another in SPRAT_BROWSER.",
        ) from error
    return handle


def _sandbox() -> tuple[str, ...]:
    """Chromium refuses its sandbox to root."""
    root = sys.platform == "linux" and os.geteuid() == 0
    return ("--no-sandbox",) if root else ()


def _children() -> set[Any]:
    import psutil

    return set(psutil.Process().children(recursive=True))


def _end(processes: set[Any]) -> None:
    """Kill what is left of a browser that hung."""
    import psutil

    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=5)


async def within(work: Awaitable[T], seconds: float = _MOMENT) -> T:
    """Wait for the browser, but not for ever.

    Args:
        work: What it was asked.
        seconds: The limit.

    Returns:
        The answer.

    Raises:
        PageLateError: The page did not come to the state that was waited for.
        BrowserError: It crashed, went away, or gave no answer in time.
    """
    try:
        return await asyncio.wait_for(work, seconds)
    except TimeoutError as error:
        raise BrowserError(
            f"the browser gave no answer within {seconds:.0f} s.",
            hint="It may have hung or run out of memory; try fewer --samples.",
        ) from error
    except Exception as error:
        text = str(error)
        if type(error).__name__ == "TimeoutError":
            raise PageLateError(
                "the page gave no answer in time.", hint="It may be too large for the browser."
            ) from error
        if "unknown command" in text:
            raise BrowserError(
                f"Playwright asks for more than this browser has ({text.splitlines()[-1]}).",
                hint="Take a newer browser, or an older Playwright.",
            ) from error
        if "crashed" in text or "has been closed" in text or "Connection closed" in text:
            raise BrowserError(
                "the browser crashed or was closed midway.",
                hint="It may have run out of memory; try fewer --samples, or close other programs.",
            ) from error
        raise
