"""The page of a bundle, used in real browsers as a visitor would: pen, keyboard, no line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

import sprat
from sprat.browser.find import Kind
from sprat.browser.static import serving_folder
from sprat.delivery.bundle import Shape
from sprat.delivery.hosts import page_headers
from sprat.quantization.configs import Weights
from sprat.workflow.bundle import bundle
from sprat.workflow.tryout import tryout
from tests.browsers import draw, launched

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "examples" / "doodles" / "doodles.onnx"
DATA = ROOT / "examples" / "doodles" / "data"
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
FISH = re.compile("fish")
FULL = "The full model answers."
COUNT = """
const post = Worker.prototype.postMessage;
globalThis.runs = 0;
Worker.prototype.postMessage = function (message, ...rest) {
  if (message.call === "run") runs++;
  return post.call(this, message, ...rest);
};
"""
LATE = """
const decode = createImageBitmap;
const held = [];
globalThis.decoded = () => { for (const go of held.splice(0)) go(); };
globalThis.createImageBitmap = async (...all) => {
  await new Promise((go) => held.push(go));
  return decode(...all);
};
"""
PAD = "document.getElementById('pad').toDataURL()"
BOTH = """async () => {
  const model = await (await import("./loader.js")).load("./manifest.json");
  if (model.role !== "full") await new Promise((done) => model.on("upgrade", done));
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d");
  context.fillStyle = "rgb(200 40 90 / 60%)";
  context.arc(120, 70, 50, 0, 5);
  context.fill();
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  const file = await new Promise((done) => canvas.toBlob(done));
  const outputs = [];
  for (const picture of [file, pixels]) {
    outputs.push((await model.run(picture)).outputs.output.data[0]);
  }
  return outputs;
}"""
SEEN = [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    preview = folder / "preview.onnx"
    sprat.save(sprat.quantize(sprat.load(MODEL), Weights(), []), preview)
    bundle(
        MODEL, folder / "site", preview=preview, data=DATA, shape=Shape(page=True), runtime="ort"
    )
    return folder / "site"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with launched("chromium") as browser:
        yield browser


def opened(browser: Browser, address: str, **options: Any) -> Page:
    context = browser.new_context(locale="en", viewport={"width": 390, "height": 844}, **options)
    page = context.new_page()
    page.goto(address)
    return page


@pytest.mark.parametrize("kind", ["chromium", "firefox"])
def test_a_stroke_is_answered_and_the_second_visit_needs_no_line(kind: Kind, site: Path) -> None:
    with launched(kind) as browser:
        with serving_folder(site, page_headers(True)) as address:
            page = opened(browser, address)
            wrong: list[str] = []
            page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
            page.on("pageerror", lambda e: wrong.append(str(e)))
            asked: list[str] = []
            page.on("request", lambda r: asked.append(r.url))
            expect(page.locator("#status")).to_have_text(FULL)
            draw(page)
            expect(page.locator("#said")).to_have_text(FISH)
            page.evaluate("async () => { await navigator.serviceWorker.ready; }")
            page.wait_for_timeout(500)
        assert wrong == []
        assert [url for url in asked if not url.startswith((address, "blob:"))] == []
        # The server is gone.
        page.goto(address)
        expect(page.locator("#status")).to_have_text(FULL)
        draw(page)
        expect(page.locator("#said")).to_have_text(FISH)


def test_the_keyboard_alone_is_enough(chromium: Browser, site: Path) -> None:
    with serving_folder(site, page_headers(True)) as address:
        page = opened(chromium, address)
        expect(page.locator("#status")).to_have_text(FULL)
        reached = []
        for _ in range(4):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.id"))
        assert reached == ["language", "pad", "clear", "file"]
        for _ in range(2):
            page.keyboard.press("Shift+Tab")
        page.keyboard.press("Space")
        for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowDown", "ArrowLeft"):
            page.keyboard.press(key)
        expect(page.locator("#said")).to_have_text(FISH)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator("#said")).to_have_text("nothing yet")
        expect(page.locator("#by")).to_have_text("–")
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("画一画，看看像什么")


def test_a_picture_that_waits_is_run_once_by_each_model(chromium: Browser, site: Path) -> None:
    picture = next((DATA / "val" / "fish").glob("*.png"))
    with serving_folder(site, page_headers(True)) as address:
        page = chromium.new_page()
        page.add_init_script(COUNT)
        held: list[Route] = []

        def hold(route: Route) -> None:
            held.append(route)

        page.route("**/*.wasm", hold)
        page.goto(address)
        page.set_input_files("#file", str(picture))
        for route in held:
            route.continue_()
        expect(page.locator("#by")).to_have_text("Full model")
        assert page.evaluate("runs") == 2
        page.close()


def test_a_file_that_is_decoded_late_is_answered_and_hides_no_drawing(
    chromium: Browser, site: Path
) -> None:
    picture = str(next((DATA / "val" / "fish").glob("*.png")))
    with serving_folder(site, page_headers(True)) as address:
        page = chromium.new_page()
        page.add_init_script(LATE)
        page.goto(address)
        page.set_input_files("#file", picture)
        expect(page.locator("#status")).to_have_text(FULL)  # the models change meanwhile
        expect(page.locator("#said")).to_have_text("nothing yet")
        page.evaluate("decoded()")
        expect(page.locator("#by")).to_have_text("Full model")
        page.locator("#clear").click()
        page.set_input_files("#file", picture)
        draw(page)
        expect(page.locator("#by")).to_have_text("Full model")
        drawn = page.evaluate(PAD)
        page.evaluate("decoded()")
        page.wait_for_timeout(500)
        assert page.evaluate(PAD) == drawn
        page.close()


def test_the_pixels_of_a_canvas_are_its_file(chromium: Browser, site: Path) -> None:
    with serving_folder(site, page_headers(True)) as address:
        page = opened(chromium, address)
        file, pixels = page.evaluate(BOTH)
        assert file == pixels
        page.close()


def test_a_picture_that_is_too_large_is_no_fault_of_the_model(
    chromium: Browser, site: Path, tmp_path: Path
) -> None:
    Image.new("1", (8001, 8001), 1).save(tmp_path / "large.png")
    (tmp_path / "none.png").write_text("no image")
    said = "The model cannot take this image: 8001 x 8001 pixels: too many"
    with serving_folder(site, page_headers(True)) as address:
        page = opened(chromium, address)
        status = page.locator("#status")
        expect(status).to_have_text(FULL)
        draw(page)
        expect(page.locator("#said")).to_have_text(FISH)
        page.set_input_files("#file", str(tmp_path / "large.png"))
        expect(status).to_have_text(said)
        expect(page.locator("#said")).to_have_text("nothing yet")
        page.locator("#language").click()
        expect(status).to_have_text(re.compile("模型无法使用这张图片.*8001 x 8001"))
        page.locator("#language").click()
        assert page.evaluate("document.body.dataset.failed") is None
        page.set_input_files("#file", str(tmp_path / "none.png"))
        expect(status).to_have_text("That is no image that this browser reads.")
        page.locator("#clear").click()
        draw(page)
        expect(page.locator("#said")).to_have_text(FISH)
        expect(status).to_have_text(FULL)
        page.close()


def violations(page: Page) -> list[str]:
    """What axe-core finds, each with the elements."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("() => axe.run()")["violations"]
    return [f"{v['id']}: {[n['target'] for n in v['nodes']]}" for v in found]


@pytest.mark.parametrize(("width", "scheme"), SEEN)
def test_axe_finds_nothing(width: int, scheme: Any, chromium: Browser, site: Path) -> None:
    shape: Any = {"width": width, "height": 900}
    with serving_folder(site, page_headers(True)) as address:
        page = chromium.new_page(color_scheme=scheme, viewport=shape)
        page.goto(address)
        expect(page.locator("#status")).to_have_text(FULL)
        draw(page)
        expect(page.locator("#said")).to_have_text(FISH)
        for language in ("en", "zh"):
            assert page.evaluate("document.documentElement.lang") == language
            assert violations(page) == []
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            page.locator("#language").click()
        page.close()
    with tryout(MODEL, MODEL, DATA) as address:
        page = chromium.new_page(color_scheme=scheme, viewport=shape)
        page.goto(address)
        expect(page.locator(".card .said")).to_have_count(2)  # the page listens
        draw(page)
        expect(page.locator(".card .said").first).to_have_text(FISH)
        assert violations(page) == []
        page.close()
