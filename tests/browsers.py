"""Start a real browser, and draw on its page."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from sprat.browser.find import Kind, find_browser
from sprat.browser.launch import launch_options
from sprat.errors import BrowserMissingError

#: A machine that is busy answers late, and not wrongly.
expect.set_options(timeout=30_000)


def has(kind: Kind) -> bool:
    """Say whether a browser is installed."""
    try:
        find_browser(kind)
    except BrowserMissingError:
        return False
    return True


@contextmanager
def launched(kind: Kind = "chromium") -> Iterator[Browser]:
    """Start a browser; without a second one the test is skipped, without Chromium it fails."""
    if kind != "chromium" and not has(kind):
        pytest.skip(f"{kind} is not installed")
    found = find_browser(kind)
    with sync_playwright() as playwright:
        options = launch_options(kind, found)
        browser = getattr(playwright, kind).launch(executable_path=found.path, **options)
        yield browser
        browser.close()


def draw(page: Page) -> None:
    """Draw a stroke on the page's pad."""
    box = page.locator("#pad").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    for x, y in ((200, 90), (240, 200), (120, 220), (60, 60)):
        page.mouse.move(box["x"] + x, box["y"] + y, steps=4)
    page.mouse.up()


def until(page: Page, predicate: str, argument: object = None, seconds: float = 60) -> None:
    """Wait for an asynchronous predicate, which ``wait_for_function`` takes as true at once."""
    end = time.monotonic() + seconds
    while not page.evaluate(predicate, argument):
        assert time.monotonic() < end, f"never true: {predicate}"
        page.wait_for_timeout(50)
