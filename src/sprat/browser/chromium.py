"""Drive a headless Chromium, within limits of time, and leave no process behind."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sprat.browser.find import find_browser
from sprat.errors import BrowserError, BrowserMissingError

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, Page

T = TypeVar("T")

#: Seconds for what takes a moment: to start, to open a page, to close.
_MOMENT = 60.0
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


@dataclass
class Chromium:
    """A running browser.

    Attributes:
        browser: Playwright's handle.
        name: Name and version.
    """

    browser: Browser
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
        context: BrowserContext = await within(self.browser.new_context(**options))
        try:
            page = await within(context.new_page())
            page.on("console", lambda message: self._heard(message.type, message.text))
            page.on("pageerror", lambda error: self._heard("error", str(error)))
            page.on("crash", lambda _: self._heard("error", "the page crashed"))
            yield page
        finally:
            with suppress(Exception):  # a browser that died has closed its contexts already
                await within(context.close())

    def _heard(self, kind: str, text: str) -> None:
        if kind == "error":
            self._console.append(text)

    def errors(self) -> list[str]:
        """Return the errors on the console since this was last asked."""
        found, self._console = self._console, []
        return found


@asynccontextmanager
async def chromium() -> AsyncIterator[Chromium]:
    """Start a browser and end it, whatever happens.

    Yields:
        The browser.

    Raises:
        BrowserMissingError: There is none, or the ``web`` extra is not installed.
        BrowserError: It does not start.
    """
    try:
        from playwright.async_api import async_playwright
    except ImportError as error:
        raise BrowserMissingError(
            "Playwright is not installed.", hint="pip install 'sprat[web]'"
        ) from error
    executable = find_browser()
    before = _children()
    # Chromium's own folder, so that what a killed one leaves behind goes with it.
    with tempfile.TemporaryDirectory(prefix="sprat-", ignore_cleanup_errors=True) as scratch:
        playwright = await async_playwright().start()
        try:
            browser = await _launch(playwright, executable, scratch)
            yield Chromium(browser, f"Chromium {browser.version}")
            with suppress(Exception):
                await within(browser.close(), 10)
        finally:
            with suppress(Exception):
                await asyncio.wait_for(playwright.stop(), 10)
            _end(_children() - before)


async def _launch(playwright: Any, executable: Path, scratch: str) -> Browser:
    try:
        found: Browser = await within(
            playwright.chromium.launch(
                executable_path=executable,
                args=[*_FLAGS, *_sandbox()],
                env={**os.environ, "TMPDIR": scratch},
                handle_sigint=False,
                timeout=1000 * _MOMENT,
            )
        )
    except BrowserError:
        raise
    except Exception as error:  # Playwright raises plain Errors
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise BrowserError(
            f"the browser does not start: {lines[0] if lines else type(error).__name__}",
            where=str(executable),
            hint="Start it by hand to see why, or name another in SPRAT_BROWSER.",
        ) from error
    return found


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
            raise BrowserError(
                "the page gave no answer in time.", hint="It may be too large for the browser."
            ) from error
        if "crashed" in text or "has been closed" in text or "Connection closed" in text:
            raise BrowserError(
                "the browser crashed or was closed midway.",
                hint="It may have run out of memory; try fewer --samples, or close other programs.",
            ) from error
        raise
