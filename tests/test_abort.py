"""An end at any moment of a load leaves no worker and no memory, in React's StrictMode too."""

from __future__ import annotations

import os
import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

import sprat
from sprat.delivery.bundle import Shape
from sprat.quantization.configs import Weights
from sprat.workflow.bundle import bundle
from tests.browsers import launched
from tests.misbehaving import from_folder, misbehaving

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "examples" / "doodles" / "doodles.onnx"
DATA = ROOT / "examples" / "doodles" / "data"
WEB = ROOT / "web"
MOUNTS = 50
#: Bytes that the page may have grown by, after all of them: a leaked model has 5 MB.
GROWTH = 2_000_000
PAGE = b"<!doctype html><title>t</title><script type=module src=./test.js></script>"
SCRIPT = b"""
import { load } from "./loader.js";
const forget = async () => {
  for (const name of await caches.keys()) await caches.delete(name);
};
const input = () => {
  const data = new Float32Array(64 * 64);
  return { input: { type: "float32", dims: [1, 1, 64, 64], data } };
};
/** Load, answer once, wait for the full model, and end it after so many milliseconds. */
globalThis.mount = async (milliseconds, fresh) => {
  if (fresh) await forget();
  const end = new AbortController();
  const start = performance.now();
  const seen = [];
  const work = load("./manifest.json", { signal: end.signal }).then(async (model) => {
    seen.push("loaded");
    const full = new Promise((done) => model.role === "full" ? done() : model.on("upgrade", done));
    await model.run(input());
    seen.push("answered");
    await full;
    seen.push("full");
  });
  const ended = new Promise((done) => setTimeout(() => { end.abort(); done(); }, milliseconds));
  const code = await Promise.race([work.then(() => ended).then(() => "ended"),
    ended.then(() => Promise.race([work, new Promise((done) => setTimeout(done, 500))]))
  ]).then(() => "ended", (error) => error.code ?? String(error));
  return { code, seen, took: performance.now() - start };
};
globalThis.whole = async (fresh) => {
  if (fresh) await forget();
  const start = performance.now();
  const model = await load("./manifest.json");
  if (model.role !== "full") await new Promise((done) => model.on("upgrade", done));
  const took = performance.now() - start;
  model.close();
  return took;
};
globalThis.aborted = async () => {
  try {
    const model = await load("./manifest.json", { signal: AbortSignal.abort() });
    return model.role;
  } catch (error) { return error.code; }
};
"""


@pytest.fixture(scope="module")
def preview(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("preview") / "preview.onnx"
    return sprat.save(sprat.quantize(sprat.load(MODEL), Weights(), []), path)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as found:
        yield found


def page_of(context: BrowserContext, address: str, ready: str) -> Page:
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(address)
    page.wait_for_function(f"() => '{ready}' in globalThis")
    return page


def no_worker(page: Page, seconds: float = 10) -> None:
    """Wait until the browser has seen the last worker end."""
    for _ in range(int(seconds * 20)):
        if not page.workers:
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"{len(page.workers)} workers are left")


def memory(context: BrowserContext, page: Page) -> int:
    """Return the bytes of the page's objects and buffers after a collection."""
    tools = context.new_cdp_session(page)
    for _ in range(3):
        tools.send("HeapProfiler.collectGarbage")
    usage = tools.send("Runtime.getHeapUsage")
    tools.detach()
    return int(usage["usedSize"] + usage.get("backingStorageSize", 0))


@pytest.mark.parametrize("runtime", ["lean", "ort"])
def test_an_end_at_any_moment_leaves_nothing(
    runtime: Any, browser: Any, preview: Path, tmp_path: Path
) -> None:
    out = tmp_path / "site"
    bundle(MODEL, out, preview=preview, data=DATA, shape=Shape(), runtime=runtime)
    files = {**from_folder(out), "/index.html": PAGE, "/test.js": SCRIPT}
    chance = random.Random(runtime)
    context = browser.new_context()
    seen: set[tuple[str, ...]] = set()
    codes: set[str] = set()
    with misbehaving(files) as server:
        page = page_of(context, server.address, "mount")
        longest = {
            fresh: page.evaluate("(fresh) => whole(fresh)", fresh) for fresh in (True, False)
        }
        before = 0
        for i in range(MOUNTS):
            fresh = i % 2 == 0
            moment = chance.uniform(0, 1.3) * longest[fresh]
            found = page.evaluate("(given) => mount(...given)", [moment, fresh])
            seen.add(tuple(found["seen"]))
            codes.add(found["code"])
            no_worker(page)
            if i == MOUNTS // 5:
                before = memory(context, page)
        assert memory(context, page) - before < GROWTH
        assert page.evaluate("() => aborted()") == "aborted"
        assert page.evaluate("() => whole(false)") > 0  # what is kept is of use
        no_worker(page)
    context.close()
    assert codes <= {"aborted", "closed", "ended"}
    assert {(), ("loaded", "answered", "full")} <= seen


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A page of React in development, with the hook as the guide has it."""
    folder = tmp_path_factory.mktemp("strict")
    guide = (ROOT / "docs" / "delivery.md").read_text(encoding="utf-8")
    (hook,) = re.findall(r"```tsx\n(.*?)```", guide, re.DOTALL)
    (folder / "hook.tsx").write_text(hook)
    vite = WEB / "node_modules" / "vite" / "bin" / "vite.js"
    subprocess.run(
        ["node", vite, "build", "--config", WEB / "test" / "strict" / "vite.config.js"],
        check=True,
        capture_output=True,
        env={**os.environ, "HOOK": str(folder / "hook.tsx"), "OUT": str(folder / "site")},
    )
    return from_folder(folder / "site")


def test_the_guides_hook_leaves_nothing_in_strict_mode(
    strict: dict[str, bytes], browser: Any, preview: Path, tmp_path: Path
) -> None:
    bundle(MODEL, tmp_path / "site", preview=preview, data=DATA, runtime="lean")
    chance = random.Random(0)
    context = browser.new_context()
    wrong: list[str] = []
    with misbehaving({**from_folder(tmp_path / "site"), **strict}) as server:
        page = page_of(context, server.address, "show")
        page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: wrong.append(str(e)))
        page.evaluate("() => show(true)")
        page.wait_for_function("() => globalThis.model?.role === 'full'")
        before = 0
        for i in range(MOUNTS):
            page.evaluate("() => show(false)")
            no_worker(page)
            if i == MOUNTS // 5:
                before = memory(context, page)
            page.evaluate("() => { globalThis.model = undefined; show(true); }")
            page.wait_for_timeout(chance.uniform(0, 400))
        page.wait_for_function("() => globalThis.model?.role === 'full'")
        assert len(page.workers) == 1
        page.evaluate("() => show(false)")
        no_worker(page)
        assert memory(context, page) - before < GROWTH
    context.close()
    assert wrong == []
