"""What can go wrong around a browser, each once: what is said, and where."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from sprat.browser import lean
from sprat.browser.delivered import deliveries
from sprat.browser.drive import Driver
from sprat.browser.find import VARIABLE, Kind, find_browser
from sprat.browser.host import Host, built, serving, with_site
from sprat.browser.launch import Browser, launched, within
from sprat.browser.runtime import bundled
from sprat.browser.static import serving_folder
from sprat.browser.visit import Subject, add_visit, line, persistently, visit
from sprat.delivery.bundle import Shape
from sprat.delivery.hosts import page_headers
from sprat.errors import BrowserError, BrowserMissingError, OutputError, PageLateError
from sprat.progress import silent
from sprat.workflow.bundle import bundle
from sprat.workflow.prove import prove

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "doodles"
MODEL = EXAMPLE / "doodles.onnx"
DATA = EXAMPLE / "data"

T = TypeVar("T")


def driven(ask: Callable[[Driver], Awaitable[T]]) -> T:
    """Ask the proving page."""

    async def asked() -> T:
        host = with_site(Host())
        with serving(host):
            async with launched() as browser, browser.page() as page:
                driver = Driver(browser, page, host, bundled(), silent)
                await driver.start()
                return await ask(driver)

    return asyncio.run(asked())


def test_a_call_that_fails_in_the_page_says_what_that_means() -> None:
    said = r"^'first' failed in the browser: HTTP 404 for ./samples/0.*not found on the server"
    with pytest.raises(BrowserError, match=said):
        driven(lambda driver: driver.first("none"))


def test_tensors_that_never_came() -> None:
    async def ask(driver: Driver) -> None:
        driver.host.received["/answers/model/0"] = b"no tensors"
        for name in ("model", "other"):
            with pytest.raises(BrowserError, match="sent no answer that can be read"):
                driver.received(f"/answers/{name}", 1)

    driven(ask)


def test_a_page_that_never_answers() -> None:
    async def ask(driver: Driver) -> None:
        with pytest.raises(BrowserError, match=r"the page gave no answer in time.*too large"):
            await within(driver.page.wait_for_selector("#nothing", timeout=50))

    driven(ask)


def test_a_visit_without_a_prediction_says_what_the_page_said() -> None:
    async def visited(driver: Driver) -> None:
        host = driver.host
        host.add("/models/bad.onnx", b"no model")
        host.add("/samples/0.safetensors", b"")
        addresses = driver.runtime.addresses()
        subject = Subject(
            "bad", "a bad one", addresses, "./models/bad.onnx", "./samples/0.safetensors", None, 8
        )
        add_visit(host, subject)
        await visit(driver.browser, host, subject, None, limit=60)

    with pytest.raises(BrowserError, match=r"the page gave no prediction: .*\w"):
        driven(visited)


def test_a_visit_that_comes_to_no_end_is_made_once_more() -> None:
    limits: list[float] = []

    async def work(limit: float) -> str:
        limits.append(limit)
        if len(limits) == 1:
            raise PageLateError("late")
        return "there"

    assert asyncio.run(persistently(work, 60)) == "there"
    assert limits == [20, 60]


def test_a_bundle_whose_manifest_is_broken_says_what_its_page_said(tmp_path: Path) -> None:
    site = tmp_path / "site"
    bundle(MODEL, site, data=DATA, shape=Shape(page=True), runtime="ort")
    for manifest in site.glob("manifest.json*"):
        manifest.unlink()
    (site / "manifest.json").write_text('{"format": 1}')
    image = next((DATA / "val" / "fish").glob("*.png"))

    async def visited() -> None:
        async with launched() as browser:
            await asked(browser)

    async def asked(browser: Browser) -> None:
        with serving_folder(site, page_headers(True)) as address:
            await deliveries(browser, address, image, line(50), lambda: 0, visits=1, limit=180)

    with pytest.raises(BrowserError, match=r"the bundle's page gives no answer: .*manifest"):
        asyncio.run(visited())


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("chromium", "apt-get install chromium"),
        ("firefox", "apt-get install firefox-esr"),
        ("webkit", "playwright install webkit"),
    ],
)
def test_where_there_is_no_browser_it_says_how_to_get_one(
    kind: Kind, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    with pytest.raises(BrowserMissingError, match=f"^no .* was found.*{how}"):
        find_browser(kind)


def test_a_browser_that_does_not_start_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/bin/false")
    with pytest.raises(BrowserError, match=r"/bin/false: the browser does not start: .*by hand"):
        prove(MODEL)


def test_a_file_that_was_not_built() -> None:
    with pytest.raises(OutputError, match=r"none.js: the pages are missing .*make web"):
        built("none.js", "the pages are")


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(OutputError, match=f"--port: port {port} cannot be used .*0 for any"),
            serving(Host(), port),
        ):
            pass


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'no memory' >&2; exit 1", "Node crashed: no memory"),
        ("exit 7", "Node crashed: 7"),
        ("sleep 60", "Node took more than 0.5 s"),
        ("echo nothing", "the lean runtime answered what cannot be read"),
    ],
)
def test_a_node_that_fails(
    script: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "node").write_text(f"#!/bin/sh\n{script.replace('sleep', 'exec /bin/sleep')}\n")
    (tmp_path / "node").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    if "took" in said:
        monkeypatch.setattr(lean, "_LIMIT", 0.5)
    with pytest.raises(BrowserError, match=said):
        lean.answers([], "node")
