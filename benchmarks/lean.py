r"""The lean runtime beside ONNX Runtime Web: in one page, by turns, one thread each.

Usage:
    sprat optimize MODEL --data DOODLES --out SMALL
    python benchmarks/lean_networks.py NETWORKS MODELS  (it says what they are)
    python -m benchmarks.lean MODEL --data DOODLES --small SMALL --image DOODLE.png \
        [--fast FAST] [--networks NETWORKS]

Writes ``benchmarks/results/lean.md``. Parts: bytes; time, first result and memory side by side;
first visits to a bundle's page on nginx; answers to the test doodles in Chromium against native;
networks of other makers. About ten minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import brotli
import numpy as np
import onnx
from PIL import Image, ImageDraw
from tests.servers import nginx, sent

from benchmarks.measure import machine
from sprat.browser.delivered import deliveries
from sprat.browser.host import SITE, Host, serving, with_site
from sprat.browser.launch import launched, within
from sprat.browser.lean import Case, answers
from sprat.browser.visit import calibrated, line
from sprat.data.options import read_options
from sprat.data.sources import open_data
from sprat.delivery.bundle import Shape
from sprat.graph.proof import gap
from sprat.lean.compile import Compiled, compile_model
from sprat.lean.plan import plan_text
from sprat.model.inspect import tensor_infos
from sprat.model.load import load
from sprat.model.session import Feeds, open_session, run
from sprat.workflow.bundle import bundle
from sprat.workflow.lean import Wanted

OUT = Path(__file__).parent / "results" / "lean.md"
PARTS = ("bytes", "time", "visits", "answers", "others")
NETWORKS = (10.0, 1.0)
VISITS = 5
ROUNDS = 9
ROUND_MILLISECONDS = 400
STARTS = 7
#: Doodles in one visit of the browser.
CHUNK = 128
#: A worker for one runtime: `load` a model and answer once, or answer again and again.
WORKER = """
const memories = [];
WebAssembly.Memory = class extends WebAssembly.Memory {
  constructor(descriptor) { super(descriptor); memories.push(this); }
};
const bytes = async (place) => (await fetch(place)).arrayBuffer();
let answer, heap;
const runtimes = {
  async ort(name, feeds) {
    const ort = await import("../runtime/ort.wasm.min.mjs");
    const wasmBinary = await bytes("../runtime/ort-wasm-simd-threaded.wasm");
    const model = new Uint8Array(await bytes(`./${name}.onnx`));
    const mjs = new URL("../runtime/ort-wasm-simd-threaded.mjs", location.href).href;
    Object.assign(ort.env.wasm, { numThreads: 1, wasmBinary, wasmPaths: { mjs } });
    const tensors = {};
    for (const [k, { type, dims, data }] of Object.entries(feeds))
      tensors[k] = new ort.Tensor(type, data, dims);
    const start = performance.now();
    const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
    answer = () => session.run(tensors);
    await answer();
    heap = () => memories.reduce((sum, memory) => sum + memory.buffer.byteLength, 0);
    return performance.now() - start;
  },
  async lean(name, feeds) {
    const { LeanSession } = await import("../lean/lean.mjs");
    const [xnnpack, helper, weights] = await Promise.all(
      ["../lean/xnnpack.wasm", "../lean/helper.wasm", `./${name}.weights`].map(bytes),
    );
    const text = new TextDecoder().decode(await bytes(`./${name}.plan`));
    const start = performance.now();
    const plan = JSON.parse(text);
    const session = await LeanSession.open({ xnnpack, helper, plan, weights });
    answer = () => session.run(feeds);
    answer();
    heap = () => session.heap;
    return performance.now() - start;
  },
};
const calls = {
  load: ([runtime, name, feeds]) => runtimes[runtime](name, feeds),
  async time([milliseconds]) {
    const times = [];
    const end = performance.now() + milliseconds;
    do {
      const start = performance.now();
      await answer();
      times.push(performance.now() - start);
    } while (performance.now() < end);
    return times;
  },
  heap: async () => heap(),
};
self.onmessage = async ({ data: [call, args] }) => {
  try { self.postMessage({ value: await calls[call](args) }); }
  catch (error) { self.postMessage({ error: String(error?.stack ?? error) }); }
};
"""
#: The page: starts by turns, then rounds by turns.
PAGE = """async ([sides, shapes, starts, rounds, milliseconds]) => {
  const ask = (worker, call, args = []) => new Promise((resolve, reject) => {
    worker.onmessage = ({ data: { value, error } }) =>
      error ? reject(new Error(error)) : resolve(value);
    worker.onerror = (event) => reject(new Error(event.message));
    worker.postMessage([call, args]);
  });
  const feeds = {};
  for (const [name, dims] of Object.entries(shapes)) {
    const size = dims.reduce((a, b) => a * b, 1);
    let seed = 1;
    const draw = () => (seed = (seed * 48271) % 2147483647) / 1073741823.5 - 1;
    feeds[name] = { type: "float32", dims, data: Float32Array.from({ length: size }, draw) };
  }
  const workers = {}, firsts = {}, times = {}, heaps = {};
  for (let i = 0; i < starts; i++)
    for (const [side, [runtime, name]] of Object.entries(sides)) {
      workers[side]?.terminate();
      workers[side] = new Worker("./bench/worker.js", { type: "module" });
      (firsts[side] ??= []).push(await ask(workers[side], "load", [runtime, name, feeds]));
    }
  for (let i = 0; i < rounds; i++)
    for (const side of i % 2 ? Object.keys(sides).reverse() : Object.keys(sides))
      (times[side] ??= []).push(await ask(workers[side], "time", [milliseconds]));
  for (const side of Object.keys(sides)) {
    heaps[side] = await ask(workers[side], "heap");
    workers[side].terminate();
  }
  return { firsts, times, heaps };
}"""


@dataclass(frozen=True)
class Subject:
    """A network with what both runtimes take of it.

    Attributes:
        name: For people.
        model: What ONNX Runtime Web takes.
        compiled: What the lean runtime takes.
        integers: The same with U8S8 graph, for ONNX Runtime Web alone; None without.
    """

    name: str
    model: onnx.ModelProto
    compiled: Compiled
    integers: onnx.ModelProto | None = None

    @property
    def shapes(self) -> dict[str, list[int]]:
        """The inputs' shapes."""
        return {t.name: list(t.shape) for t in self.compiled.plan.inputs}


def brotli_bytes(content: bytes) -> int:
    return len(brotli.compress(content, quality=11))


def bytes_part(fish: Subject) -> str:
    """What a page downloads before its first answer."""
    parts = {
        p.name.removesuffix(".br"): p.stat().st_size for p in sorted((SITE / "lean").glob("*.br"))
    }
    parts["plan.json"] = brotli_bytes(plan_text(fish.compiled.plan).encode())
    ours = sum(parts.values())
    ort = sum(p.stat().st_size for p in (SITE / "runtime").glob("*.br"))
    rows = [f"| {name} | {size / 1000:.1f} |" for name, size in parts.items()]
    return "\n".join(
        [
            "| file | KB in br-11 |",
            "|---|---:|",
            *rows,
            f"| **runtime, executor and plan together** | **{ours / 1000:.1f}** |",
            f"| ONNX Runtime Web | {ort / 1000:.1f} |",
            "",
            f"Weights of the model: {brotli_bytes(fish.compiled.weights) / 1000:.1f} KB.",
        ]
    )


async def visited(site: Path, scratch: Path, image: Path, kind: str) -> list[str]:
    """Visit a bundle's page on nginx for the first time, a few times over each line."""
    rows = []
    with nginx(site, scratch) as address, serving(with_site(Host())) as host:
        async with launched() as browser:
            for mbps in NETWORKS:
                network = await calibrated(browser, host, line(mbps))
                first, _ = await deliveries(
                    browser, address, image, network, lambda: sent(scratch), visits=VISITS
                )
                rows.append(
                    f"| {kind} | {first.mbps:g} Mbps, {first.latency:g} ms "
                    f"| **{first.seconds:.2f} s** ({first.spread.low:.2f} to "
                    f"{first.spread.high:.2f}) | {first.bytes:,} | {first.visits} |"
                )
    return rows


def visits_part(small: Path, image: Path) -> str:
    rows = []
    kinds: tuple[Wanted, ...] = ("ort", "lean")
    for kind in kinds:
        with tempfile.TemporaryDirectory(prefix="lean-") as place:
            site, scratch = Path(place) / "site", Path(place) / "nginx"
            scratch.mkdir()
            bundle(small, site, shape=Shape(host="nginx", page=True), runtime=kind)
            rows += asyncio.run(visited(site, scratch, image, kind))
    return "\n".join(
        [
            "| runtime | line | first prediction (least to most) | bytes | visits |",
            "|---|---|---:|---:|---:|",
            *rows,
        ]
    )


async def side_by_side(subject: Subject) -> dict[str, Any]:
    """Measure a network in one page."""
    host = with_site(Host())
    host.add("/bench/worker.js", WORKER.encode())
    host.add("/bench/float.onnx", subject.model.SerializeToString())
    host.add("/bench/lean.plan", plan_text(subject.compiled.plan).encode())
    host.add("/bench/lean.weights", subject.compiled.weights)
    sides = {"ort": ["ort", "float"], "lean": ["lean", "lean"]}
    if subject.integers is not None:
        host.add("/bench/integers.onnx", subject.integers.SerializeToString())
        sides["U8S8"] = ["ort", "integers"]
    with serving(host):
        async with launched() as browser, browser.page() as page:
            await within(page.goto(f"{host.address}/prove.html"))
            given = [sides, subject.shapes, STARTS, ROUNDS, ROUND_MILLISECONDS]
            found: dict[str, Any] = await within(page.evaluate(PAGE, given), 600)
    return found


def time_row(subject: Subject, found: dict[str, Any]) -> str:
    medians = {k: [statistics.median(r) for r in rounds] for k, rounds in found["times"].items()}
    ratio = {k: np.divide(v, medians["ort"]) for k, v in medians.items()}
    low, middle, high = np.quantile(ratio["lean"], (0.1, 0.5, 0.9))
    integers = f"{np.median(ratio['U8S8']):.2f}" if "U8S8" in ratio else ""
    first = {k: statistics.median(v) for k, v in found["firsts"].items()}
    heap = found["heaps"]
    return (
        f"| {subject.name} | {statistics.median(medians['ort']):.1f} ms | {integers} "
        f"| **{middle:.2f}** ({low:.2f} to {high:.2f}) "
        f"| {first['ort']:.0f} / {first['lean']:.0f} ms | {first['lean'] / first['ort']:.2f} "
        f"| {heap['ort'] / 1e6:.0f} / {heap['lean'] / 1e6:.0f} MB |"
    )


def time_part(subjects: Sequence[Subject]) -> str:
    rows = [time_row(s, asyncio.run(side_by_side(s))) for s in subjects]
    return "\n".join(
        [
            "| network | ORT Web fp32 | U8S8 | lean | first result, ORT / lean | ratio "
            "| memory, ORT / lean |",
            "|---|---:|---:|---:|---:|---:|---:|",
            *rows,
        ]
    )


def answers_part(path: Path, model: onnx.ModelProto, compiled: Compiled, data: Path) -> str:
    """Answer every test doodle in Chromium, and compare with native sample by sample."""
    found = open_data(data, tensor_infos(model), options=read_options(path, data, None))
    dataset = found.final
    session = open_session(model)
    largest, flips, total = 0.0, 0, len(dataset.samples)
    text = plan_text(compiled.plan)
    for start in range(0, total, CHUNK):
        feeds = [dataset.batch([i]) for i in range(start, min(total, start + CHUNK))]
        (answer,) = answers([Case(text, compiled.weights, tuple(feeds))], "chromium")
        assert answer.error == ""
        for fed, got in zip(feeds, answer.outputs, strict=True):
            for name, wanted in run(session, fed).items():
                one, other = np.asarray(wanted, np.float64), np.asarray(got[name], np.float64)
                largest = max(largest, float(np.abs(one - other).max()))
                flips += int(((one > 0) != (other > 0)).any())
    return (
        f"{total} test doodles in Chromium: the largest difference of a logit from native is "
        f"{largest:.1e}; {flips} answers differ."
    )


def feeds_of(subject: Subject, seed: int) -> Feeds:
    """Return noise; for PP-OCR a picture of text, because on noise its detector answers nothing."""
    draw = np.random.default_rng(seed)
    shapes = {t.name: t.shape for t in subject.compiled.plan.inputs}
    if not subject.name.startswith("PP-OCR"):
        return {k: draw.standard_normal(v).astype(np.float32) for k, v in shapes.items()}
    ((name, (images, channels, height, width)),) = shapes.items()
    picture = Image.new("L", (width, height), 255)
    for top in range(8, height - 24, 48):
        words = "".join(chr(c) for c in draw.integers(ord("a"), ord("z") + 1, 12))
        ImageDraw.Draw(picture).text((8, top), words, fill=0, font_size=24)
    values = np.asarray(picture, np.float32) / 127.5 - 1
    return {name: np.ascontiguousarray(np.broadcast_to(values, (images, channels, height, width)))}


def others_part(subjects: Sequence[Subject]) -> str:
    """Compile networks of other makers, and compare with native."""
    rows = []
    for subject in subjects:
        feeds = [feeds_of(subject, seed) for seed in range(3)]
        text = plan_text(subject.compiled.plan)
        (answer,) = answers([Case(text, subject.compiled.weights, tuple(feeds))], "chromium")
        assert answer.error == "", answer.error
        session = open_session(subject.model)
        worst, largest = 0.0, 0.0
        for fed, got in zip(feeds, answer.outputs, strict=True):
            for name, wanted in run(session, fed).items():
                top = float(np.abs(wanted).max())
                assert top > 0, f"{subject.name} answers nothing"
                worst, largest = max(worst, gap(wanted, got[name])[0] / top), max(largest, top)
        rows.append(
            f"| {subject.name} | {len(subject.compiled.plan.steps)} "
            f"| {brotli_bytes(text.encode()) / 1000:.1f} | {largest:.2g} | {worst:.1e} "
            f"| {answer.heaps[1] / 1e6:.0f} |"
        )
    return "\n".join(
        [
            "Three inputs each: noise, for PP-OCR pictures of text. The difference from native is "
            "the largest of any output, as a share of that output's largest value.",
            "",
            "| network | steps | plan, KB in br-11 | largest output | difference | memory, MB |",
            "|---|---:|---:|---:|---:|---:|",
            *rows,
        ]
    )


def other_networks(folder: Path | None) -> Iterator[Subject]:
    """Yield each network of a folder; ``name@1x3x160x160.onnx`` says the shape of its input."""
    for path in sorted(folder.glob("*.onnx")) if folder is not None else ():
        name, _, dims = path.stem.partition("@")
        model = load(path)
        if dims:
            axes = model.graph.input[0].type.tensor_type.shape.dim
            for axis, size in zip(axes, dims.split("x"), strict=True):
                axis.dim_value = int(size)
        yield Subject(name, model, compile_model(model))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--small", type=Path, required=True, help="what optimize made of it")
    parser.add_argument("--image", type=Path, required=True, help="what a visitor gives")
    parser.add_argument("--fast", type=Path, help="what optimize --goal fast made of it")
    parser.add_argument("--networks", type=Path, help="a folder of other networks")
    parser.add_argument("--part", choices=PARTS, action="append")
    options = parser.parse_args()
    parts = options.part or PARTS
    kept = OUT.with_suffix(".json")
    texts: dict[str, str] = json.loads(kept.read_text()) if kept.is_file() else {}
    small = load(options.small / "model.onnx")
    integers = load(options.fast / "model.onnx") if options.fast else None
    fish = Subject("ResNet-18 (doodles)", load(options.model), compile_model(small), integers)
    others = list(other_networks(options.networks))
    if "bytes" in parts:
        texts["bytes"] = bytes_part(fish)
    if "time" in parts:
        texts["time"] = time_part([fish, *others])
    if "visits" in parts:
        texts["visits"] = visits_part(options.small, options.image)
    if "answers" in parts:
        texts["answers"] = answers_part(options.model, small, fish.compiled, options.data)
    if "others" in parts:
        texts["others"] = others_part(others)
    made = f"{datetime.now(UTC).date()}, {machine()}"
    texts |= {f"made: {part}": made for part in parts}
    kept.write_text(json.dumps(texts, indent=1) + "\n")
    OUT.write_text(report(texts))


def report(texts: dict[str, str]) -> str:
    """Put the parts together."""
    said = dict.fromkeys(PARTS, "not measured")
    for part in said.keys() & texts.keys():
        said[part] = f"{texts[part]}\n\nMeasured {texts[f'made: {part}']}."
    return f"""# The lean runtime beside ONNX Runtime Web

Made by `python -m benchmarks.lean` in headless Chromium,
one thread. Both runtimes answer in workers of one page, by turns ({ROUNDS} rounds of
{ROUND_MILLISECONDS} ms); times are the median's ratio to ONNX Runtime Web with the float32 model,
with the 10 and 90 % quantiles over the rounds. First result: from the bytes of runtime and model
in memory to the first answer, median of {STARTS} fresh workers.

## Bytes

{said["bytes"]}

## Time and memory

{said["time"]}

## First visits

The bundle's page on nginx, an empty cache, a visitor who has the image ready; from the start of the
navigation to the answer.

{said["visits"]}

## Answers

{said["answers"]}

## Networks of other makers

{said["others"]}
"""


if __name__ == "__main__":
    main()
