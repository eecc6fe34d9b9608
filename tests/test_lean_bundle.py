"""A bundle with the lean runtime: the page does not know which runtime answers it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

import sprat
from sprat.browser.find import VARIABLE, Kind
from sprat.browser.static import serving_folder
from sprat.delivery.bundle import Shape
from sprat.delivery.hosts import page_headers
from sprat.errors import BrowserMissingError, LeanUnsupportedError, UnsupportedModelError
from sprat.model.load import load, save
from sprat.quantization.configs import Static, Weights
from sprat.quantization.quantize import quantize
from sprat.workflow.bundle import bundle
from tests.browsers import draw, launched
from tests.lean import native
from tests.networks import cnn, feeds, table

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "doodles"
MODEL, DATA = EXAMPLE / "doodles.onnx", EXAMPLE / "data"
ASK = """async () => {
  const { load } = await import("./loader.js");
  const model = await load("./manifest.json", { full: "always" });
  const upgraded = new Promise((done) => {
    if (model.role === "full") done("full");
    model.on("upgrade", done);
    model.on("error", (error) => done(error.message));
  });
  const data = new Float32Array(64 * 64);
  for (let i = 0; i < data.length; i++) data[i] = Math.fround(Math.sin(i));
  const input = () => ({ input: { type: "float32", dims: [1, 1, 64, 64], data } });
  const first = await model.run(input());
  const end = await upgraded;
  const last = await model.run(input());
  let wrong = "";
  await model.run({ input: { type: "float32", dims: [1, 64], data: data.slice(0, 64) } })
    .catch((error) => { wrong = `${error.code}: ${error.message}`; });
  model.close();
  const logit = (result) => result.outputs.output.data[0];
  return { roles: [first.role, last.role], logits: [logit(first), logit(last)], end, wrong };
}"""

TAKE_OVER = """async () => {
  const { load } = await import("./loader.js");
  const model = await load("./manifest.json", { full: "always" });
  const upgraded = new Promise((done) => { model.on("upgrade", done); model.on("error", done); });
  const data = Float32Array.from({ length: 64 * 64 }, (_, i) => Math.sin(i));
  const ask = () => model.run({ input: { type: "float32", dims: [1, 1, 64, 64], data } });
  const first = await ask();
  await upgraded;
  const last = await ask();
  model.close();
  const logits = [first, last].map((result) => result.outputs.output.data[0]);
  return { runtimes: [first.runtime, last.runtime], logits };
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lean-page")
    preview = folder / "preview.onnx"
    save(quantize(load(MODEL), Weights(), []), preview)
    shape = Shape(page=True, host="nginx")
    bundle(MODEL, folder / "site", preview=preview, data=DATA, shape=shape, runtime="lean")
    return folder / "site"


@pytest.mark.parametrize("kind", ["chromium", "firefox"])
def test_preview_and_full_model_answer_as_native_does(kind: Kind, site: Path) -> None:
    input_ = np.sin(np.arange(64 * 64)).astype(np.float32).reshape(1, 1, 64, 64)
    wanted = [
        float(native(model, {"input": input_})["output"].reshape(-1)[0])
        for model in (quantize(load(MODEL), Weights(), []), load(MODEL))
    ]
    with launched(kind) as browser, serving_folder(site, page_headers(True)) as address:
        page: Page = browser.new_page()
        page.goto(f"{address}/LICENSES.txt")  # the bundle's own page would fill the cache
        found: dict[str, Any] = page.evaluate(ASK)
    assert found["roles"] == ["preview", "full"]
    assert found["end"] == "full"
    assert np.allclose(found["logits"], wanted, atol=1e-4)
    assert found["wrong"].startswith("input: ")
    assert "input input is float32 [1,64]; it must be float32 [1,1,64,64]" in found["wrong"]


def test_the_page_answers_a_drawing(site: Path) -> None:
    with launched() as browser, serving_folder(site, page_headers(True)) as address:
        page = browser.new_context(locale="en").new_page()
        page.goto(address)
        expect(page.locator("#status")).to_have_text("The full model answers.")
        draw(page)
        expect(page.get_by_role("article")).to_contain_text("fish")


def test_the_bundle_is_small_whole_and_licensed(site: Path, tmp_path: Path) -> None:
    manifest = json.loads((site / "manifest.json").read_text())
    runtime = manifest["runtime"]
    assert runtime["kind"] == "lean"
    wire = sum(runtime[key]["encoded"]["br"] for key in ("module", "glue", "wasm"))
    assert wire < 90_000
    assert "XNNPACK" in (site / "LICENSES.txt").read_text()
    assert not list(site.rglob("*ort*"))
    again = tmp_path / "again"
    preview = tmp_path / "preview.onnx"
    save(quantize(load(MODEL), Weights(), []), preview)
    shape = Shape(page=True, host="nginx")
    bundle(MODEL, again, preview=preview, data=DATA, shape=shape, name="doodles", runtime="lean")
    for path in site.rglob("*.bin"):
        assert (again / path.relative_to(site)).read_bytes() == path.read_bytes()


def test_what_the_lean_runtime_cannot_do_takes_the_other(tmp_path: Path) -> None:
    model = tmp_path / "integers.onnx"
    samples = [feeds(cnn(), 1, seed) for seed in range(4)]
    save(quantize(cnn(), Static("minmax"), samples), model)
    with pytest.raises(LeanUnsupportedError, match="QuantizeLinear"):
        bundle(model, tmp_path / "lean", runtime="lean")
    told: list[str] = []
    assert bundle(model, tmp_path / "auto", tell=told.append).runtime.kind == "ort"
    assert len(told) == 1
    assert told[0].startswith("ONNX Runtime Web: ")
    assert "QuantizeLinear" in told[0]


def test_an_integer_model_takes_over_in_onnx_runtime_web(tmp_path: Path) -> None:
    fast = tmp_path / "fast.onnx"
    data = np.random.default_rng(0).standard_normal((8, 1, 1, 64, 64)).astype(np.float32)
    save(quantize(load(MODEL), Static("minmax"), [{"input": x} for x in data]), fast)
    out = tmp_path / "site"
    made = bundle(MODEL, out, data=DATA, shape=Shape(page=True), runtime="lean", then=fast)
    last = made.models[-1].runtime
    assert (made.runtime.kind, last and last.kind) == ("lean", "ort")
    assert "onnxruntime-web" in (out / "LICENSES.txt").read_text()
    with launched() as browser, serving_folder(out, page_headers(True)) as address:
        page = browser.new_page()
        page.goto(f"{address}/index.html")
        found = page.evaluate(TAKE_OVER)
    assert found["runtimes"] == ["lean", "ort"]
    input_ = np.sin(np.arange(64 * 64)).astype(np.float32).reshape(1, 1, 64, 64)
    wanted = [float(native(load(p), {"input": input_})["output"].item()) for p in (MODEL, fast)]
    assert abs(found["logits"][0] - wanted[0]) < 1e-4
    assert abs(found["logits"][1] - wanted[1]) < 1  # integers round otherwise in the browser


@pytest.fixture(scope="module")
def integers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quarter of the bytes, which takes a quarter of the time to compress."""
    model = tmp_path_factory.mktemp("integers") / "model.onnx"
    save(quantize(load(MODEL), Weights(), []), model)
    return model


def test_a_bundle_brings_the_runtime_that_answers_first(integers: Path, tmp_path: Path) -> None:
    told: list[str] = []
    made = sprat.bundle(integers, tmp_path / "site", data=DATA, tell=told.append)
    assert made.runtime.kind == "lean"
    assert len(told) == 1
    assert told[0].startswith("the lean runtime: it answers ")


def test_what_is_not_certain_is_visited(
    integers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sprat.workflow.lean.RUNTIME_BROTLI_BYTES", 0)  # as if it were there
    told: list[str] = []
    shape = Shape(page=True)
    made = bundle(integers, tmp_path / "page", data=DATA, shape=shape, tell=told.append)
    assert made.runtime.kind == "lean"
    assert told[0].startswith("the lean runtime: first answers at 10 Mbps after ")
    blind = bundle(integers, tmp_path / "none", data=DATA, tell=told.append)
    assert blind.runtime.kind == "ort"
    assert "without a page nothing can be visited" in told[1]


def test_a_browser_that_does_not_start_costs_the_visits_alone(
    integers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sprat.workflow.lean.RUNTIME_BROTLI_BYTES", 0)  # as if it were there
    monkeypatch.setenv(VARIABLE, "false")
    told: list[str] = []
    shape = Shape(page=True)
    made = bundle(integers, tmp_path / "site", data=DATA, shape=shape, tell=told.append)
    assert made.runtime.kind == "ort"
    assert told[0].startswith("ONNX Runtime Web: no visit could be timed (")


def test_a_model_that_takes_no_random_input_takes_the_other(tmp_path: Path) -> None:
    model = save(table(1), tmp_path / "model.onnx")
    np.savez(tmp_path / "data.npz", x=np.zeros((8, 6), np.int64))
    data, told = tmp_path / "data.npz", list[str]()
    made = bundle(model, tmp_path / "auto", data=data, tell=told.append)
    assert made.runtime.kind == "ort"
    assert told[0].startswith("ONNX Runtime Web: the lean runtime could not be checked (")
    with pytest.raises(UnsupportedModelError):
        bundle(model, tmp_path / "lean", data=data, runtime="lean")


def test_without_node_and_browser_there_is_the_other_runtime(
    integers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise BrowserMissingError("there is no browser.")

    monkeypatch.setattr("sprat.workflow.compile.answers", missing)
    told: list[str] = []
    made = bundle(integers, tmp_path / "auto", data=DATA, tell=told.append)
    assert made.runtime.kind == "ort"
    assert "there is no browser." in told[0]
    with pytest.raises(BrowserMissingError):
        bundle(integers, tmp_path / "lean", data=DATA, runtime="lean")
