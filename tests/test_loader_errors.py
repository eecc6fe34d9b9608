"""What the loader is asked wrongly, or is given that it must not take: one code each, at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page

import sprat
from sprat.delivery.bundle import Shape
from sprat.delivery.manifest import integrity
from sprat.quantization.configs import Weights
from sprat.workflow.bundle import bundle
from tests.browsers import launched, until
from tests.misbehaving import Misbehaving, from_folder, misbehaving

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "doodles"
MODEL, DATA = EXAMPLE / "doodles.onnx", EXAMPLE / "data"
PAGE = b"<!doctype html><title>t</title><script type=module src=./test.js></script>"
SCRIPT = b"""
import { load } from "./loader.js";
globalThis.load = load;
globalThis.values = () => {
  const data = new Float32Array(64 * 64);
  return { input: { type: "float32", dims: [1, 1, 64, 64], data } };
};
globalThis.code = async (work) => {
  try { await work(); return ["none", ""]; } catch (error) { return [error.code, error.message]; }
};
"""
SHELL = {"/index.html": PAGE, "/test.js": SCRIPT}
#: Where nothing listens.
CLOSED = "http://127.0.0.1:9/manifest.json"


def made(model: Path, out: Path, **how: Any) -> tuple[dict[str, bytes], str]:
    """Make a bundle; its files and its pin."""
    found = bundle(model, out, data=DATA, shape=Shape(chunk=1 << 20), **how)
    return {**from_folder(out), **SHELL}, integrity(found)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quarter of the example's bytes."""
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    return sprat.save(sprat.quantize(sprat.load(MODEL), Weights(), []), path)


@pytest.fixture(scope="module")
def first(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], str]:
    return made(model, tmp_path_factory.mktemp("first") / "site", runtime="lean")


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], str]:
    """The next release: another model."""
    return made(MODEL, tmp_path_factory.mktemp("second") / "site", runtime="lean", release=2)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as found:
        yield found


@pytest.fixture
def context(browser: Any) -> Iterator[BrowserContext]:
    found = browser.new_context()
    yield found
    found.close()


@pytest.fixture
def server(first: tuple[dict[str, bytes], str]) -> Iterator[Misbehaving]:
    with misbehaving(dict(first[0])) as found:
        yield found


def opened(context: BrowserContext, server: Misbehaving) -> Page:
    page = context.new_page()
    page.goto(server.address)
    page.wait_for_function("() => 'code' in globalThis")
    return page


def refused(page: Page, address: str, options: dict[str, Any] | None = None) -> tuple[str, str]:
    script = """async ([address, options]) => code(async () => {
      const model = await load(address, options);
      await model.run(values());
    })"""
    code, message = page.evaluate(script, [address, options or {}])
    return code, message


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (None, "missing"),
        (b"<!doctype html><title>Not found</title>", "not-a-manifest"),
        (b"no JSON at all", "not-a-manifest"),
        (b'{"name": "app"}', "not-a-manifest"),
        (b'{"sprat": 2, "models": []}', "manifest"),
    ],
)
def test_what_is_no_manifest_is_said_at_once_and_where(
    body: bytes | None, code: str, context: BrowserContext, server: Misbehaving
) -> None:
    page = opened(context, server)
    if body is not None:
        server.files["/elsewhere/manifest.json"] = body
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    found, message = refused(page, "./elsewhere/manifest.json")
    where = f"{server.address}/elsewhere/manifest.json"
    assert (found, where in message) == (code, True), message
    assert asked == [where]


@pytest.mark.parametrize("address", [CLOSED, "https://nowhere.invalid/manifest.json", "another"])
def test_a_wrong_address_is_said_without_five_attempts(
    address: str, context: BrowserContext, server: Misbehaving
) -> None:
    page = opened(context, server)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    with misbehaving({"/manifest.json": b"{}"}) as other:  # it lets no other site read it
        address = f"{other.address}/manifest.json" if address == "another" else address
        code, message = refused(page, address)
    assert (code, address in message) == ("address", True), message
    assert 1 <= len(asked) <= 2


def test_what_is_no_address_is_said(context: BrowserContext, server: Misbehaving) -> None:
    code, message = refused(opened(context, server), "http://")
    assert (code, "http://" in message) == ("address", True)


@pytest.mark.parametrize("fault", ["500", "429", "cut"])
def test_a_line_that_fails_is_still_tried_again(
    fault: str, context: BrowserContext, server: Misbehaving
) -> None:
    page = opened(context, server)
    server.faults = {"/manifest.json": [fault, fault]}
    assert refused(page, "./manifest.json", {"retry": {"pause": 5}})[0] == "none"


@pytest.mark.parametrize("runtime", ["lean", "ort"])
@pytest.mark.parametrize(
    "wrong",
    [
        "null",
        "undefined",
        "'fish.png'",
        "7",
        "[]",
        "document.createElement('img')",
        "document.createElement('canvas')",
        "new Float32Array(4096)",
        "{}",
        "{ other: values().input }",
        "{ input: [1, 2] }",
        "{ input: { ...values().input, dims: [1, 64] } }",
        "{ input: { ...values().input, dims: [1, 1, 32, 128] } }",
        "{ input: { ...values().input, type: 'int32', data: new Int32Array(4096) } }",
        "{ input: { ...values().input, data: new Float32Array(7) } }",
        "{ input: { ...values().input, data: [1, 2] } }",
        "{ input: () => 1 }",
    ],
)
def test_a_wrong_input_is_the_callers(wrong: str, runtime: str, both: dict[str, Page]) -> None:
    found = both[runtime].evaluate(
        f"""async () => {{
          const bad = await code(() => model.run({wrong}));
          const good = await model.run(values());
          return [...bad, good.role];
        }}"""
    )
    assert found[0] == "input", found
    assert found[1]
    assert found[2] == "full"


@pytest.fixture(scope="module")
def both(
    browser: Any, model: Path, first: tuple[dict[str, bytes], str], tmp_path_factory: Any
) -> Iterator[dict[str, Page]]:
    """A page for each runtime, with the model open as ``model``."""
    ort = made(model, tmp_path_factory.mktemp("ort") / "site", runtime="ort")
    with misbehaving(dict(first[0])) as lean, misbehaving(dict(ort[0])) as other:
        found = {}
        for name, server in (("lean", lean), ("ort", other)):
            found[name] = opened(browser.new_context(), server)
            found[name].evaluate(
                "async () => { globalThis.model = await load('./manifest.json'); }"
            )
        yield found


def test_an_image_for_a_model_of_tensors_is_the_callers(
    context: BrowserContext, model: Path, tmp_path: Path
) -> None:
    bundle(model, tmp_path / "site", runtime="lean")  # without data: nothing is known of images
    with misbehaving({**from_folder(tmp_path / "site"), **SHELL}) as server:
        found = opened(context, server).evaluate(
            """async () => {
              const model = await load("./manifest.json");
              return code(() => model.run(new ImageData(4, 4)));
            }"""
        )
    assert found[0] == "input"
    assert "takes no images" in found[1]


def test_after_close_every_run_says_closed(context: BrowserContext, server: Misbehaving) -> None:
    found = opened(context, server).evaluate(
        """async () => {
          const model = await load("./manifest.json");
          const under = code(() => model.run(values()));
          model.close();
          const after = await code(() => model.run(values()));
          return [(await under)[0], ...after];
        }"""
    )
    assert found[:2] == ["closed", "closed"]
    assert "closed" in found[2]


# Which version


def remembered(page: Page) -> None:
    """Wait until the version is whole in the cache."""
    until(
        page,
        """async () => (await (await caches.open("sprat:/manifest.json")).keys())
          .filter((request) => request.url.includes("manifest.json")).length > 0
          && (await navigator.locks.query()).held.length === 0""",
    )


def test_a_manifest_that_is_not_the_pinned_one_is_refused(
    context: BrowserContext,
    server: Misbehaving,
    first: tuple[dict[str, bytes], str],
    second: tuple[dict[str, bytes], str],
) -> None:
    page = opened(context, server)
    assert refused(page, "./manifest.json", {"integrity": first[1]})[0] == "none"
    for pin in (second[1], "sha256-", "", first[1].swapcase()):
        server.answered.clear()
        code, message = refused(page, "./manifest.json", {"integrity": pin})
        assert (code, "/manifest.json" in message) == ("pin", True)
        assert {path for path, _ in server.answered} <= {"/manifest.json"}


def test_a_page_with_a_new_pin_takes_the_new_version_at_once(
    context: BrowserContext,
    server: Misbehaving,
    first: tuple[dict[str, bytes], str],
    second: tuple[dict[str, bytes], str],
) -> None:
    version = """async (integrity) => {
      const model = await load("./manifest.json", { integrity });
      globalThis.loaded = model.manifest.version;
      return loaded;
    }"""
    page = opened(context, server)
    old = page.evaluate(version, first[1])
    remembered(page)
    server.files = dict(second[0])
    page = opened(context, server)
    new = page.evaluate(version, second[1])
    assert new == json.loads(second[0]["/manifest.json"])["version"] != old
    until(
        page,
        """async () => {
          const kept = await (await caches.open("sprat:/manifest.json")).match("./manifest.json");
          return (await kept.json()).version === loaded;
        }""",
    )


FORGET = """async () => {
  const cache = await caches.open("sprat:/manifest.json");
  for (const request of await cache.keys()) {
    if (/assets|runtime/.test(request.url)) await cache.delete(request);
  }
}"""


def test_an_older_release_is_refused_unless_it_is_allowed(
    context: BrowserContext,
    first: tuple[dict[str, bytes], str],
    second: tuple[dict[str, bytes], str],
) -> None:
    with misbehaving(dict(second[0])) as server:
        page = opened(context, server)
        assert refused(page, "./manifest.json")[0] == "none"
        remembered(page)
        server.files = dict(first[0])
        page = opened(context, server)
        # What is here goes on, and says why there is nothing newer.
        found = page.evaluate(
            """async () => {
              const model = await load("./manifest.json");
              const error = await new Promise((done) => model.on("error", done));
              return [model.manifest.release, error.code, error.message];
            }"""
        )
        assert found[:2] == [2, "older"]
        assert f"{server.address}/manifest.json is release 1; release 2 was here" in found[2]
        # Its files are lost: the older one is still refused, today and tomorrow.
        context.new_cdp_session(page).send("Network.clearBrowserCache")
        page.evaluate(FORGET)
        for _ in range(2):
            page = opened(context, server)
            retry = {"retry": {"attempts": 2, "pause": 5}}
            assert refused(page, "./manifest.json", retry)[0] == "older"
        assert refused(page, "./manifest.json", {"allowOlder": True})[0] == "none"


# What runs is what was checked


@pytest.mark.parametrize(
    ("runtime", "part"), [("lean", "module"), ("ort", "module"), ("ort", "glue")]
)
def test_a_script_is_checked_before_it_runs(
    runtime: str, part: str, context: BrowserContext, model: Path, tmp_path: Path
) -> None:
    files, _ = made(model, tmp_path / "site", runtime=runtime)
    path = json.loads(files["/manifest.json"])["runtime"][part]["path"]
    files[f"/{path}"] += b"\nfetch('/it-ran');"
    with misbehaving(files) as server:
        page = opened(context, server)
        asked: list[str] = []
        context.on("request", lambda request: asked.append(urlsplit(request.url).path))
        code, _ = refused(page, "./manifest.json", {"retry": {"attempts": 2, "pause": 5}})
        page.wait_for_load_state("networkidle")
    assert code == "integrity"
    assert f"/{path}" in asked
    assert "/it-ran" not in asked
