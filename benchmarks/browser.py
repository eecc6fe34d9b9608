r"""Sprat's models in a real Chromium: right, fast, light, and early on slow networks.

Usage:
    sprat optimize MODEL --data DOODLES --out SMALL
    sprat optimize MODEL --data DOODLES --out FAST --goal fast
    pip install --no-deps --target MODELS \
        rapidocr-onnxruntime==1.4.4 magika==1.0.3 silero-vad==6.2.3
    python -m benchmarks.browser MODEL --data DOODLES --small SMALL --fast FAST --site MODELS

Writes ``benchmarks/results/browser.md`` and ``browser.json``. About 35 minutes on 2 cores, a third
of them waiting for the original at 1 Mbps.

Parts: the forms of one model in the browser against native; the page before (the original, and
ONNX Runtime Web's default build) and after; five models of other makers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import brotli
import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from benchmarks.measure import machine
from benchmarks.third_party import find_model, make_direction, make_magika, make_recognizer
from sprat.browser.drive import Driver, packed
from sprat.browser.host import Host, serving, with_site
from sprat.browser.launch import launched
from sprat.browser.runtime import bundled
from sprat.browser.types import Proof, Visit
from sprat.browser.visit import Subject, add_visit, calibrated, line, visits
from sprat.data.options import read_options
from sprat.data.sources import Data, open_data
from sprat.graph.simplify import simplify
from sprat.model.inspect import tensor_infos
from sprat.model.load import load
from sprat.model.nodes import name_nodes
from sprat.model.session import Feeds, open_session, run
from sprat.progress import silent
from sprat.quantization.configs import Dynamic, Float16, Static
from sprat.quantization.quantize import quantize
from sprat.workflow.plan import Plan
from sprat.workflow.prove import prove
from sprat.workflow.setting import open_setting

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).resolve().parents[1]
#: What a page gets that follows ONNX Runtime Web's first example.
DEFAULT_BUILD = ROOT / "web" / "node_modules" / "onnxruntime-web" / "dist"
DEFAULT_FILES = {
    "module": "ort.min.mjs",
    "glue": "ort-wasm-simd-threaded.jsep.mjs",
    "wasm": "ort-wasm-simd-threaded.jsep.wasm",
}
SAMPLES = 256
#: The original takes six minutes at 1 Mbps.
LONGEST = 900.0
#: Above it PP-OCR's detector takes a pixel for text.
TEXT_PIXEL = 0.3
PARTS = ("forms", "others", "pages")


def as_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the same integers in bytes instead of half bytes."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    for tensor in out.graph.initializer:
        if tensor.data_type == TensorProto.INT4:
            values = numpy_helper.to_array(tensor).astype(np.int8)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return out


def forms(options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield each form of the model as a file."""
    setting = open_setting(options.model, options.data)
    samples = setting.calibration()
    clean = name_nodes(simplify(setting.model, samples[:2]).model)
    small = load(options.small / "model.onnx")
    made = {
        "rate-distortion, packed INT4": small,
        "rate-distortion, int8": as_int8(small),
        "rate-distortion, U8S8": load(options.fast / "model.onnx"),
        "onnxruntime static, U8S8": quantize(clean, Static("minmax"), samples),
        "onnxruntime dynamic": quantize(clean, Dynamic(), samples),
        "float16": quantize(clean, Float16(), samples),
    }
    for i, (name, model) in enumerate(made.items()):
        path = folder / f"form-{i}.onnx"
        onnx.save(model, path)
        yield name, path


def form_row(name: str, proof: Proof) -> dict[str, Any]:
    own, original = proof.against_native, proof.against_original
    assert own is not None
    assert original is not None
    (timing,) = proof.timings
    assert timing.ratio is not None
    assert timing.interval is not None
    return {
        "name": name,
        "samples": own.samples,
        "flips": len(own.flips),
        "native_drop": own.drop,
        "largest": own.error.max_abs,
        "drop": original.drop,
        "low": original.interval.low,
        "high": original.interval.high,
        "ratio": timing.ratio,
        "ratio_low": timing.interval.low,
        "ratio_high": timing.interval.high,
        "first": timing.first,
        "create": proof.loading.milliseconds,
        "heap": proof.heap,
        "original_heap": proof.original_heap,
        "seen_exact": proof.seen.exact if proof.seen else None,
        "seen_flips": proof.seen.flips if proof.seen else None,
    }


async def pages(options: argparse.Namespace) -> list[Visit]:
    """Visit the page before and after over each network."""
    host = with_site(Host())
    data = _data(options.model, options.data, 1)
    preprocess = data.preprocess
    assert preprocess is not None
    path = data.final.samples[0].path
    assert path is not None
    host.add("/images/0", path.read_bytes())
    host.add("/models/original.onnx", options.model.read_bytes())
    for key, name in (("small", "small"), ("fast", "fast")):
        content = (getattr(options, key) / "model.onnx").read_bytes()
        host.add(f"/models/{name}.onnx", brotli.compress(content, lgwin=22), "br")
    for name in DEFAULT_FILES.values():
        content = (DEFAULT_BUILD / name).read_bytes()
        host.add(f"/default/{name}", brotli.compress(content, lgwin=22), "br")
    lean = {
        "module": "./runtime/ort.wasm.min.mjs",
        "glue": "./runtime/ort-wasm-simd-threaded.mjs",
        "wasm": "./runtime/ort-wasm-simd-threaded.wasm",
    }
    before = {key: f"./default/{name}" for key, name in DEFAULT_FILES.items()}
    subjects = [
        Subject(
            name, name, runtime, f"./models/{model}.onnx", "./images/0", preprocess.as_json(), 1
        )
        for name, runtime, model in (
            ("before: original, default build", before, "original"),
            ("original, wasm build", lean, "original"),
            ("after: Sprat, --goal small", lean, "small"),
            ("after: Sprat, --goal fast", lean, "fast"),
        )
    ]
    found: list[Visit] = []
    with serving(host):
        async with launched() as browser:
            networks = [await calibrated(browser, host, line(mbps)) for mbps in (50.0, 10.0, 1.0)]
            # The slow line last: what a busy machine would disturb comes first.
            for part in (networks[:2], networks[2:]):
                for i, subject in enumerate(subjects):
                    numbered = replace(subject, name=str(i))
                    add_visit(host, numbered)
                    for visit in await visits(browser, host, numbered, part, longest=LONGEST):
                        found.append(replace(visit, subject=subject.name))
                        print(found[-1], flush=True)
    return found


def _data(model: Path, data: Path, limit: int) -> Data:
    infos = tensor_infos(load(model))
    return open_data(data, infos, options=read_options(model, data, None), limit=limit)


def other_models(site: Path | None, folder: Path) -> Iterator[tuple[str, Path, list[Feeds]]]:
    """Yield five models of other makers with inputs that suit them."""
    for key, make in (
        ("direction", make_direction),
        ("recognizer", make_recognizer),
        ("magika", make_magika),
    ):
        path = find_model(key, site)
        place = make(folder / key)
        dataset = _data(path, place, 32).final
        yield key, path, [dataset.batch([i]) for i in range(min(32, len(dataset.samples)))]
    path = find_model("recognizer", site)
    lines = _data(path, folder / "recognizer", 8).final
    pages: list[Feeds] = []
    for i in range(2):
        page = np.zeros((1, 3, 192, 320), np.float32)
        for row in range(4):
            page[:, :, 48 * row : 48 * row + 48] = next(iter(lines.batch([4 * i + row]).values()))
        pages.append({"x": page})
    yield "detector", find_model("detector", site), pages
    yield "voice", find_model("voice", site), list(sounds(16))


def sounds(count: int) -> Iterator[Feeds]:
    """Yield chunks of 32 ms at 16 kHz: tones with noise."""
    random = np.random.default_rng(0)
    moments = np.arange(512) / 16_000
    for i in range(count):
        tone = 0.3 * np.sin(2 * np.pi * 110 * (i + 1) * moments)
        sound = (tone + 0.05 * random.standard_normal(512)).astype(np.float32)
        state = np.zeros((2, 1, 128), np.float32)
        yield {"input": sound[None], "state": state, "sr": np.array(16_000, np.int64)}


def decided(name: str, values: np.ndarray) -> np.ndarray:
    """Return what a first output decides: text or not at each pixel, else the best class."""
    return values > TEXT_PIXEL if name == "detector" else np.argmax(values, axis=-1)


async def agreement(model: str, path: Path, feeds: Sequence[Feeds]) -> dict[str, Any]:
    """Run the same inputs natively and in the browser; return the largest difference."""
    host = with_site(Host(accepts=("/answers/",)))
    host.add("/models/model.onnx", path.read_bytes())
    for i, one in enumerate(feeds):
        host.add(f"/samples/{i}.safetensors", packed(one))
    session = open_session(path)
    with serving(host):
        async with launched() as browser, browser.page() as page:
            driver = Driver(browser, page, host, bundled(), silent)
            await driver.start()
            loading = await driver.open("model")
            answers = await driver.answers("model", len(feeds), "") if loading.loads else []
            largest, decisions = 0.0, 0
            for one, theirs in zip(feeds, answers, strict=False):
                ours = run(session, one)
                for values, got in ((ours[name], theirs[name]) for name in ours):
                    gap = np.abs(values.astype(np.float64) - got.astype(np.float64))
                    largest = max(largest, float(gap.max(initial=0.0)))
                first = next(iter(ours))
                same = decided(model, ours[first]) == decided(model, theirs[first])
                decisions += not bool(np.all(same))
            heap = await driver.heap("model") if loading.loads else 0
            return {
                "loads": loading.loads,
                "error": loading.error,
                "inputs": len(feeds),
                "largest": largest,
                "flips": decisions,
                "create": loading.milliseconds,
                "heap": heap,
            }


def markdown(found: dict[str, Any]) -> str:
    """Say everything as tables."""
    rows = found["forms"]
    lines = [
        "# In a real browser",
        "",
        f"`python -m benchmarks.browser`, {found['date']}. {found['machine']}. {found['browser']}.",
        "",
        "## Forms of the fish doodle classifier",
        "",
        f"{rows[0]['samples']} test doodles, a worker, one thread. Flips and the largest logit "
        "difference are against the same file in native ONNX Runtime; the drop is against the "
        "original, native. Time is the ratio to float32 in the same page, by turns (first to "
        "ninth decile).",
        "",
        "| form | flips | drop against native | largest difference | drop, points (95 %) "
        "| time ratio | session, ms | first run, ms | heap, MB (original) |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r['name']} | {r['flips']} | {r['native_drop']:+.2f} | {r['largest']:.2g} "
        f"| {r['drop']:+.2f} ({r['low']:+.2f} to {r['high']:+.2f}) "
        f"| {r['ratio']:.2f} ({r['ratio_low']:.2f} to {r['ratio_high']:.2f}) | {r['create']:.0f} "
        f"| {r['first']:.0f} | {r['heap'] / 1e6:.0f} ({r['original_heap'] / 1e6:.0f}) |"
        for r in rows
    ]
    exact = {r["seen_exact"] for r in rows}
    flips = max(r["seen_flips"] for r in rows)
    lines += [
        "",
        f"The page's own preprocessing gives the bits of Pillow's for {min(exact):.1%} of the "
        f"images; at most {flips} answers change by it.",
        "",
        "## The page before and after",
        "",
        "Time to the first prediction from the start of the navigation, empty cache, everything "
        "that the page loads included; median, in brackets what theory says (two waits, "
        "bytes over throughput, then session and run as in an unthrottled visit). The original is "
        "sent as it is, all else with br-11.",
        "",
        "| page | bytes | 50 Mbps, 5 ms | 10 Mbps, 50 ms | 1 Mbps, 300 ms |",
        "|---|---:|---:|---:|---:|",
    ]
    for name in dict.fromkeys(v["subject"] for v in found["pages"]):
        visits = [v for v in found["pages"] if v["subject"] == name]
        cells = " | ".join(f"{v['seconds']:.2f} s ({v['predicted']:.2f})" for v in visits)
        lines.append(f"| {name} | {visits[0]['bytes']:,} | {cells} |")
    lines += [
        "",
        "## Models of other makers",
        "",
        "The same inputs in native ONNX Runtime and in the browser; flips are inputs on which the "
        "first output decides otherwise anywhere (best class; the detector: text pixel or not).",
        "",
        "| model | loads | inputs | largest difference | flips | session, ms | heap, MB |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r['name']} | {'yes' if r['loads'] else r['error']} | {r['inputs']} "
        f"| {r['largest']:.2g} | {r['flips']} | {r['create']:.0f} | {r['heap'] / 1e6:.0f} |"
        for r in found["others"]
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--small", type=Path, required=True, help="what optimize wrote")
    parser.add_argument("--fast", type=Path, required=True, help="the same with --goal fast")
    parser.add_argument("--site", type=Path, help="where pip install --target put the wheels")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    results = RESULTS / "browser.json"
    kept = json.loads(results.read_text()) if results.is_file() else {}
    found: dict[str, Any] = kept | {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
    }
    RESULTS.mkdir(exist_ok=True)
    for part in options.parts:
        with tempfile.TemporaryDirectory(prefix="browser-") as place:
            found |= measured(part, options, Path(place))
        results.write_text(json.dumps(found, indent=2) + "\n")
    (RESULTS / "browser.md").write_text(markdown(found))
    print((RESULTS / "browser.md").read_text())


def measured(part: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure one part."""
    if part == "pages":
        return {"pages": [asdict(visit) for visit in asyncio.run(pages(options))]}
    if part == "others":
        rows = []
        for name, path, feeds in other_models(options.site, folder):
            rows.append({"name": name, **asyncio.run(agreement(name, path, feeds))})
            print(rows[-1], flush=True)
        return {"others": rows}
    plan = Plan(samples=SAMPLES, networks=(), threads=(1,))
    found: dict[str, Any] = {"forms": []}
    for name, path in forms(options, folder):
        proof = prove(path, reference=options.model, data=options.data, plan=plan)
        found["browser"] = f"{proof.browser}, {proof.runtime}"
        found["forms"].append(form_row(name, proof))
        print(found["forms"][-1], flush=True)
    return found


if __name__ == "__main__":
    main()
