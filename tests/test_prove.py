"""A model in a real Chromium: right, refused with the reason, or ended in time."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper
from PIL import Image
from playwright.async_api import Error as PlaywrightError
from playwright.async_api import Page as PlaywrightPage

import sprat
from sprat.browser import delivered, drive, visit
from sprat.browser.drive import Driver
from sprat.browser.find import VARIABLE
from sprat.browser.host import Host, serving, with_site
from sprat.browser.launch import launched, within
from sprat.browser.runtime import bundled
from sprat.browser.single import Single, single_nodes
from sprat.browser.types import OperatorCheck, Proof
from sprat.data.options import Interpolation, Resize
from sprat.data.preprocess import Preprocess
from sprat.delivery.bundle import Shape
from sprat.errors import BrowserError, BrowserMissingError, DataError, OptionError
from sprat.model.session import open_session
from sprat.model.wire import brotli_bytes
from sprat.progress import Progress, silent
from sprat.quantization.configs import Config, Dynamic, Float16, Static, Weights
from sprat.workflow import measure
from sprat.workflow.bundle import bundle
from sprat.workflow.measure import _gap
from sprat.workflow.plan import Plan
from sprat.workflow.prove import prove
from sprat.workflow.setting import open_setting
from sprat.workflow.verify import verify
from tests.browsers import has
from tests.models import depthwise_cnn

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "doodles"
MODEL = EXAMPLE / "doodles.onnx"
DATA = EXAMPLE / "data"
#: The package that the pages are built with; 'make web' installs it.
DIST = EXAMPLE.parents[1] / "web" / "node_modules" / "onnxruntime-web" / "dist"
QUICK = Plan(samples=24, networks=(), threads=())
FORMS: dict[str, Config] = {
    "int8 weights": Weights(),
    "float16": Float16(),
    "static U8S8": Static("minmax"),
    "dynamic": Dynamic(),
}


def chromiums() -> list[psutil.Process]:
    return [p for p in psutil.Process().children(recursive=True) if "chrom" in living_name(p)]


def living_name(process: psutil.Process) -> str:
    """A process's name; empty where it has ended, also between two looks, or is a zombie."""
    try:
        with process.oneshot():
            return "" if process.status() == psutil.STATUS_ZOMBIE else process.name()
    except psutil.NoSuchProcess:  # a zombie that is gone now too
        return ""


def test_a_process_that_ends_between_two_looks_has_ended() -> None:
    with subprocess.Popen(["sleep", "60"]) as started:
        process = psutil.Process(started.pid)
        assert living_name(process) == "sleep"
        started.kill()
        os.waitid(os.P_PID, started.pid, os.WEXITED | os.WNOWAIT)
        assert living_name(process) == ""
    assert living_name(process) == ""


def saved(model: onnx.ModelProto, path: Path) -> Path:
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("name", FORMS)
def test_the_browser_answers_as_native_does(name: str, tmp_path: Path) -> None:
    setting = open_setting(MODEL, DATA, limit=64)
    small = sprat.quantize(setting.model, FORMS[name], setting.calibration(16))
    path = saved(small, tmp_path / "small.onnx")
    proof = prove(path, reference=MODEL, data=DATA, plan=QUICK)
    assert proof.loading.loads
    assert proof.against_native is not None
    assert proof.against_native.samples == 24
    assert proof.against_native.flips == ()
    # U8 activations round differently on other instruction sets; float weights do not.
    assert proof.against_native.error.max_abs < (0.5 if "int" not in name else 1e-4)
    assert proof.against_original is not None
    assert proof.seen is not None
    assert (proof.seen.exact, proof.seen.flips) == (1.0, 0)
    assert proof.heap is not None
    assert proof.heap >= proof.loading.heap > 1 << 20
    assert proof.lean is not None
    assert ("QuantizeLinear" in proof.lean.refused) == (name in ("static U8S8", "dynamic"))
    assert [o for o in proof.operators if o.error] == []
    assert sum(o.nodes for o in proof.operators) == len(small.graph.node)


def test_an_output_that_loses_its_axis_with_one_sample(tmp_path: Path) -> None:
    """``[N]`` for N samples and ``[]`` for one, as a Squeeze of all axes gives it."""
    model = sprat.load(MODEL)
    (output,) = model.graph.output
    model.graph.node.append(helper.make_node("Squeeze", [output.name], ["flat"]))
    output.CopyFrom(helper.make_tensor_value_info("flat", TensorProto.FLOAT, None))
    flat = saved(model, tmp_path / "flat.onnx")
    proof = prove(flat, data=DATA, plan=QUICK)
    assert proof.against_native is not None
    assert (proof.against_native.samples, proof.against_native.flips) == (24, ())


@pytest.mark.skipif(not has("firefox"), reason="needs Firefox")
def test_firefox_answers_as_native_does() -> None:
    plan = Plan(samples=24, networks=(10,), threads=(1,), browser="firefox")
    proof = prove(MODEL, reference=MODEL, data=DATA, plan=plan)
    assert proof.browser.startswith("Firefox ")
    assert proof.against_native is not None
    assert (proof.against_native.samples, proof.against_native.flips) == (24, ())
    assert proof.against_native.error.max_abs < 1e-4
    assert proof.seen is not None
    assert (proof.seen.exact, proof.seen.flips) == (1.0, 0)
    assert proof.isolated
    assert len(proof.timings) == 1
    assert proof.visits == ()
    assert "no visits: only Chromium's network can be throttled" in proof.notes
    assert not [p for p in psutil.Process().children(recursive=True) if "firefox" in living_name(p)]


def test_webgpu_answers_as_native_does_and_is_not_timed() -> None:
    plan = replace(QUICK, networks=(10,), threads=(1,), provider="webgpu", runtime=DIST)
    proof = prove(MODEL, data=DATA, plan=plan)
    assert proof.loading.loads
    assert proof.runtime.endswith(", WebGPU")
    assert proof.against_native is not None
    assert (proof.against_native.samples, proof.against_native.flips) == (24, ())
    assert proof.against_native.error.max_abs < 1e-3
    assert (proof.timings, proof.visits) == ((), ())
    assert any(note.startswith("WebGPU computes on") for note in proof.notes)


def test_the_runtime_may_be_the_users_own() -> None:
    proof = prove(MODEL, plan=replace(QUICK, runtime=DIST))
    assert proof.loading.loads
    assert proof.runtime == bundled().name
    assert proof.difference is not None
    assert proof.difference < 1e-4


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (replace(QUICK, provider="webgpu"), "npm pack onnxruntime-web"),
        (replace(QUICK, runtime=EXAMPLE), "lacks one of ort.wasm.min.mjs"),
        (replace(QUICK, runtime=DIST, provider="webgpu", browser="firefox"), "--browser chromium"),
    ],
)
def test_a_runtime_that_cannot_be(plan: Plan, words: str) -> None:
    with pytest.raises(OptionError, match=words) as caught:
        prove(MODEL, plan=plan)
    assert caught.value.exit_code == 2


def test_an_output_that_is_no_tensor_is_refused_before_the_browser_starts(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    answer = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    node = helper.make_node("SequenceConstruct", ["x", "x"], ["y"])
    graph = helper.make_graph([node], "sequence", [value], [answer])
    opsets = [helper.make_opsetid("", 17)]
    path = saved(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "s.onnx")
    with pytest.raises(DataError, match="output 'y' is no tensor of numbers") as caught:
        prove(path, plan=QUICK)
    assert caught.value.where == str(path)
    assert "Export the model with tensors of scores" in caught.value.hint


def test_a_browser_older_than_playwright_is_one_clear_error() -> None:
    async def asked() -> None:
        raise ValueError("Protocol error (emulation.x): unknown command\nMessage: emulation.x")

    with pytest.raises(BrowserError, match=r"more than this browser has \(Message: emulation.x\)"):
        asyncio.run(within(asked()))


def test_a_visit_over_a_line_is_counted_to_the_byte(tmp_path: Path) -> None:
    plan = Plan(samples=2, networks=(20,), threads=(1,))
    proof = prove(MODEL, reference=MODEL, data=DATA, plan=plan)
    assert [v.subject for v in proof.visits] == ["model", "original"]
    small, original = proof.visits
    # The model goes compressed, the original as it is; page and runtime are the same.
    saving = MODEL.stat().st_size - brotli_bytes(MODEL.read_bytes())
    assert original.bytes - small.bytes == pytest.approx(saving, rel=0.01)
    assert small.seconds is not None
    assert small.seconds > 0.8 * 8 * small.bytes / 20e6
    (timing,) = proof.timings
    assert timing.ratio is not None
    assert timing.first > 0
    assert timing.p95 >= timing.median > 0


def test_a_line_that_cannot_be_trusted_costs_the_visits_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(visit, "TRUST", -1.0)
    monkeypatch.setattr(visit, "_KNOWN_SECONDS", 0.1)
    proof = prove(MODEL, data=DATA, plan=Plan(samples=8, networks=(50,), threads=(1,)))
    assert proof.loading.loads
    assert proof.against_native is not None
    assert proof.timings
    assert not proof.visits
    assert any(note.startswith("no visits: a transfer of") for note in proof.notes)


def test_a_verdict_without_visits_keeps_all_other_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visit, "TRUST", -1.0)
    monkeypatch.setattr(visit, "_KNOWN_SECONDS", 0.1)
    verdict = verify(MODEL, MODEL, DATA, max_bytes=1 << 30, max_first_prediction=(60, 50), limit=8)
    assert not verdict.holds
    *others, last = verdict.checks
    assert all(check.holds for check in others)
    assert last.name == "first prediction"
    assert last.figure.startswith("no visits: a transfer of")


def test_a_bundle_is_visited_twice_with_one_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivered, "_SETTLE", 1500)
    site, preview = tmp_path / "site", tmp_path / "preview.onnx"
    sprat.save(sprat.quantize(sprat.load(MODEL), Weights(), []), preview)
    bundle(MODEL, site, preview=preview, data=DATA, shape=Shape(page=True), runtime="ort")
    plan = Plan(samples=2, networks=(20,), threads=(), site=site)
    first, second = prove(MODEL, data=DATA, plan=plan).deliveries
    assert (first.visit, second.visit) == ("first", "second")
    whole = sum(p.stat().st_size for p in site.rglob("*.br"))
    assert 0.9 * whole < first.bytes < 1.2 * whole
    assert second.bytes < 0.02 * first.bytes
    assert first.full > 0.8 * 8 * whole / 20e6
    assert 0 < first.seconds <= first.full
    with pytest.raises(OptionError, match="another model"):
        prove(preview, data=DATA, plan=plan)
    for wrong in (replace(plan, site=tmp_path), replace(plan, networks=())):
        with pytest.raises(OptionError, match="--site"):
            prove(MODEL, data=DATA, plan=wrong)
    with pytest.raises(OptionError, match="images"):
        prove(MODEL, plan=plan)


def test_the_record_and_the_report_take_the_proof_in(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [
        *(sys.executable, "-m", "sprat", "optimize", MODEL, "--data", DATA, "--out", out),
        *("--limit", "60", "--max-drop", "5", "--minutes", "0.1", "--json"),
    ]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    proof = prove(out, reference=MODEL, data=DATA, plan=QUICK)
    record = json.loads((out / "run.json").read_text())
    assert record["proof"]["browser"] == proof.browser
    assert record["log"][-1]["operation"].startswith("prove model.onnx in Chromium")
    page = (out / "report.html").read_text()
    assert proof.runtime in page
    assert proof.lean is not None
    assert (proof.lean.refused, proof.lean.samples) == ("", 16)
    assert "In the lean runtime" in page
    assert "Samples that the browser answers differently" not in page
    # A poorer look leaves the record as it is.
    before = (out / "run.json").read_bytes()
    verdict = verify(out, MODEL, DATA, max_drop=50, max_browser_drop=50, limit=8)
    said = {check.name: check.figure for check in verdict.checks}
    assert "with ONNX Runtime Web" in said["download"]
    assert "answers as native does" in said["lean runtime"]
    prove(out, plan=QUICK)
    assert (out / "run.json").read_bytes() == before
    # Another runtime's proof is for the log.
    prove(out, data=DATA, plan=replace(QUICK, runtime=DIST))
    after = json.loads((out / "run.json").read_text())
    assert after["proof"] == json.loads(before)["proof"]
    assert len(after["log"]) == len(json.loads(before)["log"]) + 1


def one_node(operator: str, domain: str = "") -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in "xy")
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"], domain=domain)], "g", [x], [y]
    )
    opsets = [helper.make_opsetid("", 17)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def refused(path: Path) -> Proof:
    proof = prove(path, plan=QUICK)
    assert not proof.loading.loads
    assert proof.loading.error
    assert proof.loading.hint
    assert chromiums() == []
    return proof


def test_a_model_that_was_optimised_for_one_processor(tmp_path: Path) -> None:
    path = saved(one_node("ReorderInput", "com.microsoft.nchwc"), tmp_path / "m.onnx")
    found = refused(path).loading
    assert found.cause == "optimised for one processor"
    assert "nchwc" in found.error


def test_an_operator_that_the_runtime_does_not_have(tmp_path: Path) -> None:
    path = saved(one_node("Frobnicate", "com.example"), tmp_path / "m.onnx")
    found = refused(path).loading
    assert found.cause == "operator missing in the browser's runtime"
    assert "Frobnicate" in found.error


def test_a_download_that_was_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(MODEL.read_bytes()[:-1000])
    assert refused(path).loading.cause == "not a whole ONNX file"


def test_a_page_of_html_instead_of_a_model(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_text("<!doctype html><title>404</title><p>Not found at this location")
    assert refused(path).loading.cause == "not a whole ONNX file"


def wide(nodes: list[onnx.NodeProto], constant: onnx.TensorProto) -> onnx.ModelProto:
    """Return a model of some rows that expands them beyond all bounds and takes their maximum."""
    nodes = [
        *nodes,
        helper.make_node("Expand", ["x", "large"], ["wide"]),
        helper.make_node("ReduceMax", ["wide"], ["y"], axes=[1], keepdims=1),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["rows", 1]) for n in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], [constant])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_shape_that_no_browser_holds_is_refused_before_it_is_run(tmp_path: Path) -> None:
    large = helper.make_tensor("large", TensorProto.INT64, [2], [1, 1_100_000_000])
    path = saved(wide([], large), tmp_path / "m.onnx")
    found = prove(path, plan=QUICK).loading
    assert (found.loads, found.cause) == (False, "not enough memory")


def test_a_run_that_needs_more_memory_than_a_page_has(tmp_path: Path) -> None:
    # The noise has two rows, each of 2.2 GB: native has room, the 4 GB of WebAssembly do not.
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Mul", ["shape", "many"], ["large"]),
    ]
    many = helper.make_tensor("many", TensorProto.INT64, [2], [1, 550_000_000])
    path = saved(wide(nodes, many), tmp_path / "m.onnx")
    found = prove(path, plan=QUICK).loading
    assert (found.loads, found.cause) == (False, "not enough memory")


def test_the_command_says_why_and_exits_with_1(tmp_path: Path) -> None:
    path = saved(one_node("ReorderInput", "com.microsoft.nchwc"), tmp_path / "m.onnx")
    command = [sys.executable, "-m", "sprat", "prove", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Does NOT load: optimised for one processor." in done.stdout
    assert "nchwc" in done.stdout


def test_without_a_browser_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "no-such-browser")
    with pytest.raises(BrowserMissingError, match="apt-get install chromium") as caught:
        prove(MODEL, plan=QUICK)
    assert caught.value.exit_code == 2


def on_first_answer(act: Callable[[psutil.Process], object]) -> Progress:
    """Return a listener that does something to every renderer once the first answers are in."""

    def listen(stage: str, done: float, total: float) -> None:
        if stage == "answering in the browser" and done < total:
            for process in chromiums():
                if "--type=renderer" in process.cmdline():
                    act(process)

    return listen


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
def test_a_browser_that_dies_or_hangs_is_one_error_and_leaves_nothing(
    blow: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drive, "_PULSE_SECONDS", 2.0)
    hit: list[psutil.Process] = []

    def act(process: psutil.Process) -> None:
        hit.append(process)
        os.kill(process.pid, blow)

    listen = on_first_answer(act)
    with pytest.raises(BrowserError) as caught:
        prove(MODEL, data=DATA, plan=QUICK, progress=listen)
    assert caught.value.exit_code == 3
    assert chromiums() == []
    assert hit
    assert not [p for p in hit if living_name(p)]


def test_no_number_is_no_agreement() -> None:
    one, none = np.array([1.0, np.nan]), np.array([np.nan, np.nan])
    assert _gap(one, one) == 0.0
    assert _gap(one, none) == float("inf")


def test_the_build_itself_says_which_operators_it_has() -> None:
    singles = single_nodes(depthwise_cnn())
    odd = one_node("Frobnicate", "com.example").SerializeToString()

    async def asked() -> tuple[OperatorCheck, ...]:
        host = with_site(Host())
        with serving(host):
            async with launched() as browser, browser.page() as page:
                driver = Driver(browser, page, host, bundled(), silent)
                await driver.start()
                return await driver.operators([*singles, Single("Frobnicate", 1, (), 1, odd)])

    *known, unknown = asyncio.run(asked())
    assert {o.operator for o in known} >= {"Conv", "Relu", "Gemm"}
    assert all(o.error == "" for o in known)
    assert "Frobnicate" in unknown.error


def reading_outside() -> onnx.ModelProto:
    """A model whose If reads values of the graph around it, and that has a function."""
    value = helper.make_tensor_value_info
    bodies = {
        name: helper.make_graph(
            [helper.make_node(operator, ["x", "w"], [f"{name}_y"])],
            name,
            [],
            [value(f"{name}_y", TensorProto.FLOAT, [2])],
        )
        for name, operator in (("then_branch", "Add"), ("else_branch", "Mul"))
    }
    twice = helper.make_function(
        "here",
        "Twice",
        ["a"],
        ["b"],
        [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )
    branch = helper.make_node("If", ["c"], ["y"])
    branch.attribute.extend(helper.make_attribute(*body) for body in bodies.items())
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["c"]),
        branch,
        helper.make_node("Twice", ["y"], ["z"], domain="here"),
    ]
    constants = [
        helper.make_tensor("w", TensorProto.FLOAT, [2], [2, 3]),
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0]),
    ]
    ends = [value(name, TensorProto.FLOAT, [2]) for name in "xz"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("here", 1)]
    model = helper.make_model(graph, functions=[twice], opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(model)
    return model


def test_a_node_alone_has_what_its_bodies_and_functions_read() -> None:
    singles = single_nodes(reading_outside())
    assert {s.operator for s in singles} >= {"If", "here.Twice"}
    (branch,) = (s for s in singles if s.operator == "If")
    assert branch.types == ("bool",)
    for single in singles:
        open_session(onnx.load_model_from_string(single.content))


def test_a_picture_that_cannot_be_taken_costs_only_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []

    async def fails(page: object, **_: object) -> bytes:
        asked.append(page)
        raise PlaywrightError("Page.screenshot: Unable to capture screenshot")

    monkeypatch.setattr(PlaywrightPage, "screenshot", fails)
    monkeypatch.setattr(measure, "_FILM_MBPS", 20.0)
    plan = Plan(samples=2, networks=(20,), threads=(1,))
    proof = prove(MODEL, reference=MODEL, data=DATA, plan=plan)
    assert asked
    assert [v.subject for v in proof.visits] == ["model", "original"]
    assert not proof.frames
    assert proof.timings


def test_the_page_makes_the_bits_of_pillow(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    sizes = ((40, 31), (17, 64), (28, 28), (5, 3))
    for i, (width, height) in enumerate(sizes):
        pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    Image.fromarray(random.integers(0, 256, (9, 21), dtype=np.uint8)).save(tmp_path / "4.png")
    filters: tuple[Interpolation, ...] = (
        *("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"),
    )
    modes: tuple[Resize, ...] = ("stretch", "shortest", "letterbox")
    ways = [
        Preprocess("x", (28, 28), mode, (24, 20), "rgb", "nchw", 1 / 255, *_imagenet(), how)
        for how, mode in itertools.product(filters, modes)
    ]
    ways.append(Preprocess("x", (28, 28), "stretch", None, "gray", "nchw", 1.0, (0.0,), (1.0,)))
    ways.append(Preprocess("x", (30, 20), "stretch", None, "bgr", "nhwc", 1.0, *_imagenet()))
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for how, found in zip(ways, asyncio.run(_prepared(ways, paths)), strict=True):
        for path, ours in zip(paths, found, strict=True):
            theirs = how.normalize([how.pixels(path)])[0]
            np.testing.assert_array_equal(ours, theirs, err_msg=f"{path.name} {how}")


def _imagenet() -> tuple[tuple[float, ...], tuple[float, ...]]:
    return (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


async def _prepared(ways: list[Preprocess], paths: list[Path]) -> list[list[np.ndarray]]:
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", "a", "b", "c"]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "identity", [x], [y])
    echo = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    host = with_site(Host(accepts=("/prepared/", "/seen/")))
    host.add("/models/model.onnx", echo.SerializeToString())
    for i, path in enumerate(paths):
        host.add(f"/images/{i}", path.read_bytes())
    with serving(host):
        async with launched() as browser, browser.page() as page:
            driver = Driver(browser, page, host, bundled(), silent)
            await driver.start()
            assert (await driver.open("model")).loads
            found = []
            for how in ways:
                prepared, seen = await driver.looks("model", how.as_json(), len(paths), "")
                for made, echoed in zip(prepared, seen, strict=True):
                    np.testing.assert_array_equal(made["x"], echoed["y"])
                found.append([made["x"][0] for made in prepared])
            return found
