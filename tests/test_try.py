"""The page for a person, driven in Chromium as a person would."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import FilePayload, Page, expect

from sprat.data.options import DataOptions
from sprat.errors import OptionError
from sprat.workflow.tryout import tryout
from tests.browsers import draw, launched

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "doodles"
MODEL = EXAMPLE / "doodles.onnx"
DATA = EXAMPLE / "data"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with tryout(MODEL, MODEL, DATA) as found:
        yield found


@pytest.fixture
def page(address: str) -> Iterator[Page]:
    with launched() as browser:
        opened = browser.new_page(viewport={"width": 390, "height": 844}, locale="en")
        wrong: list[str] = []
        opened.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
        opened.on("pageerror", lambda e: wrong.append(str(e)))
        asked: list[str] = []
        opened.on("request", lambda r: asked.append(r.url))
        opened.goto(address)
        expect(opened.locator(".card")).to_have_count(2)  # the page listens
        yield opened
    assert wrong == []
    assert [url for url in asked if not url.startswith((address, "blob:", "data:"))] == []


def test_a_stroke_gets_an_answer_from_both(page: Page) -> None:
    draw(page)
    said = page.locator(".card .said")
    expect(said).to_have_count(2)
    for i in range(2):
        expect(said.nth(i)).to_have_text(re.compile("fish"))
    expect(page.locator("#agreement")).to_have_text("Both say the same.")
    expect(page.locator(".card dd").first).to_contain_text("%")


def test_one_model_can_be_chosen_and_the_drawing_cleared(page: Page) -> None:
    draw(page)
    page.get_by_label("Small").check()
    expect(page.locator(".card")).to_have_count(1)
    expect(page.locator(".card .said")).to_have_text(re.compile("fish"))
    expect(page.locator("#agreement")).to_have_text("")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".card .said")).to_have_text("nothing yet")
    expect(page.locator(".card dt")).to_have_text(["To download (br-11)"])


def test_a_sample_comes_with_its_label(page: Page) -> None:
    page.get_by_role("button", name="Another sample").click()
    expect(page.locator("#label")).to_contain_text("The sample is labelled")
    expect(page.locator(".card .said").first).to_have_text(re.compile("fish"))


def test_the_keyboard_alone_is_enough(page: Page) -> None:
    page.locator("#pad").focus()
    page.keyboard.press("Space")
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowDown", "ArrowLeft"):
        page.keyboard.press(key)
    expect(page.locator(".card .said").first).to_have_text(re.compile("fish"))


def test_an_image_that_is_none_is_said_to_be(page: Page) -> None:
    wrong = FilePayload(name="x.png", mimeType="image/png", buffer=b"no image")
    page.locator("#file").set_input_files(wrong)
    expect(page.locator("#label")).to_contain_text("could not be decoded")


def test_it_speaks_chinese_too_and_remembers(page: Page) -> None:
    page.get_by_role("button", name="中文").click()
    expect(page.locator("h1")).to_have_text("试一试两个模型")
    page.reload()
    expect(page.locator("h1")).to_have_text("试一试两个模型")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_an_output_that_is_no_class_is_refused() -> None:
    wanted = "the page shows a class; this output is read as vector"
    with (
        pytest.raises(OptionError, match=wanted),
        tryout(MODEL, MODEL, DATA, options=DataOptions(kind="vector")),
    ):
        pass


@pytest.mark.parametrize("path", ["/../pyproject.toml", "/%2e%2e/etc/passwd", "/models/", "/x\0"])
def test_nothing_else_is_served(address: str, path: str) -> None:
    url = address.rstrip("/") + path.replace("\0", "%00")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url)
    assert caught.value.code == 404
    caught.value.close()
