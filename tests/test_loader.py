"""The loader in a real Chromium against a server that misbehaves: right, or one clear error."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import numpy_helper
from playwright.sync_api import BrowserContext, Page

import sprat
from sprat.delivery.bundle import Shape
from sprat.model.wire import brotli_bytes
from sprat.quantization.configs import Weights
from sprat.workflow.bundle import bundle
from tests.browsers import launched, until
from tests.misbehaving import Misbehaving, from_folder, misbehaving, schedule

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "doodles"
MODEL = EXAMPLE / "doodles.onnx"
DATA = EXAMPLE / "data"
#: ``SPRAT_SCHEDULES=200`` runs as many; a failing seed replays with ``-k 'seed17]'``.
SCHEDULES = int(os.environ.get("SPRAT_SCHEDULES", "24"))
CODES = {
    *("aborted", "integrity", "manifest", "memory", "missing", "model", "network", "no-wasm"),
    "not-a-manifest",
}
PAGE = b"<!doctype html><title>t</title><script type=module src=./test.js></script>"
SCRIPT = b"""
import { load } from "./loader.js";
globalThis.load = load;
globalThis.watched = async () => {
  await navigator.serviceWorker.register("./sw.js");
  await navigator.serviceWorker.ready;
};
globalThis.values = () => {
  const data = new Float32Array(64 * 64);
  for (let i = 0; i < data.length; i++) data[i] = Math.fround(Math.sin(i));
  return { input: { type: "float32", dims: [1, 1, 64, 64], data } };
};
globalThis.logit = (result) => result.outputs.output.data[0];
globalThis.attempt = async (retry) => {
  try {
    const model = await load("./manifest.json", { retry });
    const upgrade = new Promise((done) => {
      if (model.role === "full") done("full");
      model.on("upgrade", done);
      model.on("error", (error) => done(error.code));
    });
    const first = await model.run(values());
    const end = await upgrade;
    const last = await model.run(values());
    model.close();
    return { roles: [first.role, last.role], logits: [logit(first), logit(last)], end };
  } catch (error) {
    return { code: error.code, message: error.message };
  }
};
"""
#: Quick, so that hundreds of schedules take minutes; a page waits longer.
RETRY = {"attempts": 5, "pause": 5, "silence": 1000}
LIMIT = 60_000
#: Visits after the faults until the newest version must have come.
VISITS = 6


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("loader")
    preview = folder / "preview.onnx"
    sprat.save(sprat.quantize(sprat.load(MODEL), Weights(), []), preview)
    return built(MODEL, preview, folder / "site")


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The next version: other weights in both models."""
    folder = tmp_path_factory.mktemp("newer")
    model, preview = folder / "model.onnx", folder / "preview.onnx"
    sprat.save(retrained(), model)
    sprat.save(sprat.quantize(retrained(), Weights(), []), preview)
    return built(model, preview, folder / "site")


def built(model: Path, preview: Path, out: Path) -> dict[str, bytes]:
    shape = Shape(chunk=256 << 10, page=True)
    bundle(model, out, preview=preview, data=DATA, shape=shape, runtime="ort")
    return {**from_folder(out), "/index.html": PAGE, "/test.js": SCRIPT}


def retrained() -> onnx.ModelProto:
    """The example with another last layer."""
    model = sprat.load(MODEL)
    head = next(n for n in reversed(model.graph.node) if n.op_type == "Gemm")
    weight = next(t for t in model.graph.initializer if t.name == head.input[1])
    values = 1.01 * numpy_helper.to_array(weight)
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    return model


@pytest.fixture(scope="module")
def server(files: dict[str, bytes]) -> Iterator[Misbehaving]:
    with misbehaving(dict(files)) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as found:
        yield found


@pytest.fixture
def context(browser: Any) -> Iterator[BrowserContext]:
    found = browser.new_context()
    yield found
    found.close()


def opened(context: BrowserContext, server: Misbehaving) -> Page:
    page = context.new_page()
    page.set_default_timeout(LIMIT)
    page.goto(server.address)
    page.wait_for_function("() => 'attempt' in globalThis")
    return page


def attempt(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate("(retry) => attempt(retry)", RETRY)
    return found


@pytest.fixture(scope="module")
def right(browser: Any, server: Misbehaving) -> dict[str, Any]:
    """What a load gives when all is well: the preview's logit and the full model's."""
    server.faults = {}
    return plain(browser, server)


def plain(browser: Any, server: Misbehaving) -> dict[str, Any]:
    context = browser.new_context()
    found = attempt(opened(context, server))
    context.close()
    assert found["roles"] == ["preview", "full"]
    assert found["end"] == "full"
    assert found["logits"][0] != found["logits"][1]
    return found


@pytest.fixture(scope="module")
def versions(
    browser: Any, right: dict[str, Any], newer: dict[str, bytes]
) -> list[dict[str, float]]:
    """The logits of each version, by role."""
    with misbehaving(dict(newer)) as server:
        after = plain(browser, server)
    both = [
        dict(zip(("preview", "full"), found["logits"], strict=True)) for found in (right, after)
    ]
    assert both[0]["full"] != both[1]["full"]
    return both


@pytest.mark.parametrize("seed", range(SCHEDULES), ids=lambda seed: f"seed{seed}")
def test_a_schedule_of_faults_ends_right_or_with_a_code(
    seed: int,
    context: BrowserContext,
    files: dict[str, bytes],
    newer: dict[str, bytes],
    versions: list[dict[str, float]],
) -> None:
    with misbehaving(dict(files)) as server:
        plan = schedule(seed, server.files)
        page = opened(context, server)
        tools = context.new_cdp_session(page)
        if plan.event == "service worker killed":
            page.evaluate("() => watched()")
            tools.send("ServiceWorker.enable")
        server.faults = dict(plan.faults)
        server.answered.clear()
        quota = {"origin": server.address}
        if plan.event == "out of quota":
            size = int(plan.moment * sum(len(content) for content in files.values()))
            tools.send("Storage.overrideQuotaForOrigin", {**quota, "quotaSize": size})
        if plan.event == "update in the middle":
            server.update = (int(plan.moment * 10), dict(newer))
        page.evaluate("(retry) => { globalThis.done = attempt(retry); }", RETRY)
        if plan.event == "service worker killed":
            page.wait_for_timeout(500 * plan.moment)
            tools.send("ServiceWorker.stopAllWorkers")
        if plan.event == "tab closed":
            page.wait_for_timeout(1000 * plan.moment)
            page.close()
        else:
            sound(page.evaluate("() => done"), versions)
        # The line is good again: other pages of the same visitor find their way, and the newest
        # version as soon as it is whole in the cache.
        server.faults = {}
        last = versions[0]
        if plan.event == "update in the middle":
            server.files, server.update, last = dict(newer), None, versions[1]
        if plan.event == "out of quota":
            tools.send("Storage.overrideQuotaForOrigin", quota)
        for _ in range(VISITS):
            page = opened(context, server)
            found = attempt(page)
            assert found.get("end") == "full", found
            sound(found, versions)
            if found["logits"][1] == last["full"]:
                break
            page.wait_for_timeout(500)
        else:
            raise AssertionError("the newest version never comes")


def sound(found: dict[str, Any], versions: list[dict[str, float]]) -> None:
    """An error with a code and words, or the answers of one and the same version."""
    if "code" in found:
        assert found["code"] in CODES, found
        assert found["message"]
        return
    assert found["end"] in {"full", *CODES}
    assert any(found["logits"] == [v[role] for role in found["roles"]] for v in versions), found


def test_a_second_visit_asks_for_nothing_but_the_manifest(
    context: BrowserContext, server: Misbehaving, right: dict[str, Any]
) -> None:
    page = opened(context, server)
    attempt(page)
    page.wait_for_timeout(500)  # what is behind the answer settles
    page = opened(context, server)
    server.answered.clear()
    found = attempt(page)
    assert found["roles"] == ["full", "full"]
    assert found["logits"] == [right["logits"][1]] * 2
    page.wait_for_timeout(300)
    assert {path for path, _ in server.answered} <= {"/manifest.json"}


def test_an_interrupted_load_goes_on_where_it_was(
    context: BrowserContext, server: Misbehaving, right: dict[str, Any]
) -> None:
    page = opened(context, server)
    chunks = sorted(p for p in server.files if "/assets/full" in p)
    assert len(chunks) > 2
    server.faults = {chunks[-1]: ["silence"] * 20}
    page.evaluate("(retry) => void attempt(retry)", RETRY)
    page.wait_for_timeout(1500)
    page.close()
    server.faults = {}
    server.answered.clear()
    found = attempt(opened(context, server))
    assert found["logits"][1] == right["logits"][1]
    again = {path for path, _ in server.answered if "/assets/full" in path}
    assert again <= {chunks[-1]}


def test_an_update_costs_only_the_chunks_that_changed(
    context: BrowserContext, files: dict[str, bytes], tmp_path: Path
) -> None:
    sprat.save(retrained(), tmp_path / "new.onnx")
    out = tmp_path / "site"
    bundle(tmp_path / "new.onnx", out, data=DATA, shape=Shape(chunk=256 << 10), runtime="ort")
    old_out = tmp_path / "old"
    sprat.save(sprat.load(MODEL), tmp_path / "old.onnx")
    bundle(tmp_path / "old.onnx", old_out, data=DATA, shape=Shape(chunk=256 << 10), runtime="ort")
    old, new = from_folder(old_out), from_folder(out)
    shell = {"/index.html": PAGE, "/test.js": SCRIPT}
    with misbehaving({**old, **shell}) as server:
        page = opened(context, server)
        first = attempt(page)
        page.wait_for_timeout(500)
        server.files = {**new, **shell}
        server.answered.clear()
        page = opened(context, server)
        kept = page.evaluate(
            """async (retry) => {
              const model = await load("./manifest.json", { retry });
              const update = new Promise((done) => model.on("update", done));
              const result = await model.run(values());
              await update;
              return logit(result);
            }""",
            RETRY,
        )
        assert kept == first["logits"][1]  # the old version works until the new one is whole
        fetched = {path for path, _ in server.answered if "/assets/full" in path}
        assert fetched == {p for p in new if "/assets/full" in p} - set(old)
        assert len(fetched) == 1
        after = attempt(opened(context, server))
        assert after["end"] == "full"
        assert after["logits"][1] != first["logits"][1]


def test_a_thousand_calls_during_the_change_keep_their_order(
    context: BrowserContext, server: Misbehaving, right: dict[str, Any]
) -> None:
    page = opened(context, server)
    found = page.evaluate(
        """async (retry) => {
          const model = await load("./manifest.json", { retry });
          const order = [], roles = [], logits = new Set();
          let longest = 0, last = performance.now();
          const watch = setInterval(() => {
            longest = Math.max(longest, performance.now() - last);
            last = performance.now();
          }, 1);
          const calls = [];
          const more = (i) => i < 1000 || (model.role !== "full" && i < 20000);
          for (let i = 0; more(i); i++) {
            if (i % 1000 === 999) await Promise.all(calls);
            calls.push(model.run(values()).then((result) => {
              order.push(i);
              roles.push(result.role);
              logits.add(`${result.role} ${logit(result)}`);
            }));
            if (i % 10 === 0) await new Promise((done) => setTimeout(done));
          }
          calls.push(model.run(values()).then(({ role }) => { order.push(-1); roles.push(role); }));
          await Promise.all(calls);
          clearInterval(watch);
          return { order, roles, logits: [...logits], longest };
        }""",
        RETRY,
    )
    assert len(found["order"]) > 1000
    assert found["order"] == [*range(len(found["order"]) - 1), -1]
    switch = found["roles"].index("full")
    assert set(found["roles"][:switch]) <= {"preview"}
    assert set(found["roles"][switch:]) == {"full"}
    expected = dict(zip(("preview", "full"), right["logits"], strict=True))
    assert set(found["logits"]) <= {f"{role} {_js(value)}" for role, value in expected.items()}


def _js(value: float) -> str:
    return repr(value)


def test_save_data_stays_with_the_preview(context: BrowserContext, server: Misbehaving) -> None:
    page = opened(context, server)
    server.answered.clear()
    found = page.evaluate(
        """async (retry) => {
          Object.defineProperty(navigator, "connection", { value: { saveData: true } });
          const model = await load("./manifest.json", { retry });
          const { role } = await model.run(values());
          await new Promise((done) => setTimeout(done, 500));
          return [role, model.role];
        }""",
        RETRY,
    )
    assert found == ["preview", "preview"]
    assert not [path for path, _ in server.answered if "/assets/full" in path]


def test_an_aborted_load_says_so(context: BrowserContext, server: Misbehaving) -> None:
    page = opened(context, server)
    code = page.evaluate(
        """async (retry) => {
          const end = new AbortController();
          setTimeout(() => end.abort(), 30);
          try { await load("./manifest.json", { retry, signal: end.signal }); return "loaded"; }
          catch (error) { return error.code; }
        }""",
        RETRY,
    )
    assert code == "aborted"


@pytest.mark.parametrize(
    ("trick", "ends"),
    [
        ("delete globalThis.WebAssembly", "no-wasm"),
        ("CacheStorage.prototype.open = () => Promise.reject(new DOMException('x'))", "full"),
        (
            "Cache.prototype.put = () => Promise.reject(new DOMException('full'))",
            "full",
        ),
        ("Object.defineProperty(navigator, 'locks', { value: undefined })", "full"),
    ],
)
def test_what_a_browser_may_refuse(
    trick: str, ends: str, context: BrowserContext, server: Misbehaving
) -> None:
    page = opened(context, server)
    page.evaluate(f"() => {{ {trick} }}")
    found = attempt(page)
    assert found.get("code", found.get("end")) == ends


def test_two_tabs_share_one_download(context: BrowserContext, server: Misbehaving) -> None:
    tabs = [opened(context, server) for _ in range(2)]
    server.answered.clear()
    for tab in tabs:
        tab.evaluate("(retry) => { globalThis.done = attempt(retry); }", RETRY)
    ends = [tab.evaluate("() => done")["end"] for tab in tabs]
    assert ends == ["full", "full"]
    paths = [path for path, _ in server.answered if "/assets/full" in path]
    assert len(paths) == len(set(paths))


def test_a_tab_that_loads_keeps_its_files_from_one_with_a_newer_version(
    context: BrowserContext, files: dict[str, bytes], tmp_path: Path
) -> None:
    bundle(MODEL, tmp_path / "site", data=DATA, shape=Shape(chunk=1 << 20))
    newer = {**from_folder(tmp_path / "site"), "/index.html": PAGE, "/test.js": SCRIPT}
    kept = """async () => (await (await caches.open("sprat:/manifest.json")).keys())
      .map((request) => new URL(request.url).pathname)"""
    whole = f"async () => (await ({kept})()).includes('/manifest.json')"
    with misbehaving(dict(files)) as server:
        old = sorted({p for p in files if "/assets/full" in p} - set(newer))
        slow, others = old[-1], set(old[:-1])
        assert others
        server.faults = {slow: ["silence"] * 100}
        first = opened(context, server)
        first.evaluate("(retry) => void attempt(retry)", {**RETRY, "attempts": 100})
        until(
            first,
            f"async (wanted) => {{ const found = await ({kept})();"
            " return wanted.every((path) => found.includes(path)); }",
            sorted(others),
        )
        server.files = {**files, **newer}
        second = opened(context, server)
        assert attempt(second)["end"] == "full"
        until(second, whole)
        assert others <= set(second.evaluate(kept))
        first.close()
        third = opened(context, server)
        # It stays open: a close ends the search for a newer version, and the tidying with it.
        third.evaluate("async (retry) => { await load('./manifest.json', { retry }); }", RETRY)
        until(
            third,
            f"async (old) => {{ const found = await ({kept})();"
            " return !old.some((path) => found.includes(path)); }",
            old,
        )


@pytest.mark.parametrize(("role", "ends"), [("preview", "code"), ("full", "end")])
def test_chunks_that_do_not_make_the_model_are_refused(
    role: str, ends: str, context: BrowserContext, files: dict[str, bytes]
) -> None:
    manifest = json.loads(files["/manifest.json"])
    model = next(m for m in manifest["models"] if m["role"] == role)
    model["sha256"] = "0" * 64
    with misbehaving({**files, "/manifest.json": json.dumps(manifest).encode()}) as server:
        found = attempt(opened(context, server))
    assert found[ends] == "integrity"
    assert found.get("roles", ["preview", "preview"]) == ["preview", "preview"]


def test_packed_files_of_hosts_without_encodings_load(
    context: BrowserContext, right: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "site"
    bundle(MODEL, out, data=DATA, shape=Shape(host="netlify"), runtime="ort")
    shell = {"/index.html": PAGE, "/test.js": SCRIPT}
    with misbehaving({**from_folder(out), **shell}) as server:
        found = attempt(opened(context, server))
        assert found["end"] == "full", found
        assert found["logits"][1] == right["logits"][1]


def test_a_version_whose_files_are_lost_makes_way_for_the_next(
    context: BrowserContext, files: dict[str, bytes], tmp_path: Path
) -> None:
    new_out = tmp_path / "site"
    bundle(MODEL, new_out, data=DATA, shape=Shape(chunk=1 << 20), runtime="ort")
    shell = {"/index.html": PAGE, "/test.js": SCRIPT}
    with misbehaving(dict(files)) as server:
        page = opened(context, server)
        assert attempt(page)["end"] == "full"
        page.wait_for_timeout(500)
        page.evaluate(
            """async () => {
              const cache = await caches.open("sprat:/manifest.json");
              for (const request of await cache.keys()) {
                if (request.url.includes("/assets/")) await cache.delete(request);
              }
            }"""
        )
        context.new_cdp_session(page).send("Network.clearBrowserCache")
        server.files = {**from_folder(new_out), **shell}
        found = attempt(opened(context, server))
        assert found.get("end") == "full", found


@pytest.mark.parametrize(
    ("script", "gives"),
    [
        (
            """model.close();
               return model.run(values()).then(() => "ran", (error) => error.message)""",
            "the model was closed",
        ),
        (
            """const bad = model.run({ input: () => 1 }).then(() => "ran", () => "refused");
               const good = await model.run(values());
               return `${await bad} ${good.role}`""",
            "refused full",
        ),
        (
            """model.on("update", () => { throw new Error("listener"); });
               globalThis.reportError = () => {};
               model.tell("update", model.manifest);
               return (await model.run(values())).role""",
            "full",
        ),
    ],
)
def test_what_a_page_may_do_wrong(
    script: str, gives: str, context: BrowserContext, server: Misbehaving, right: dict[str, Any]
) -> None:
    page = opened(context, server)
    found = page.evaluate(
        f"""async (retry) => {{
          const model = await load("./manifest.json", {{ retry }});
          if (model.role !== "full") await new Promise((done) => model.on("upgrade", done));
          {script}
        }}""",
        RETRY,
    )
    assert found == gives


def test_closing_ends_what_still_loads(context: BrowserContext, server: Misbehaving) -> None:
    page = opened(context, server)
    role = page.evaluate(
        """async (retry) => {
          const model = await load("./manifest.json", { retry });
          const role = model.role;
          let upgraded = false;
          model.on("upgrade", () => { upgraded = true; });
          model.close();
          await new Promise((done) => setTimeout(done, 2000));
          return [role, upgraded];
        }""",
        RETRY,
    )
    assert role == ["preview", False]
    assert len(page.workers) == 0


def test_the_loader_and_its_worker_stay_small(tmp_path: Path) -> None:
    bundle(MODEL, tmp_path / "site", data=DATA, runtime="ort")
    files = from_folder(tmp_path / "site")
    parts = {p: brotli_bytes(c) for p, c in files.items() if p.endswith(".js")}
    print(f"loader, engine and worker: {sum(parts.values()):,} bytes br-11")
    assert sum(parts.values()) <= 8 * 1024
