"""A bundle on a real nginx, visited by a real Chromium over throttled lines.

Usage:
    sprat optimize MODEL --data DOODLES --out SMALL --preview 150000
    python -m benchmarks.fish_page SMALL --image DOODLE.png [--runtime RUNTIME] [--part PART]

Needs nginx with its brotli-static module. The visitor gives an image as soon as the page listens;
times count from the start of the navigation to the preview's and to the full model's answer. Writes
``benchmarks/results/fish_page.md``, for ONNX Runtime Web and for the lean runtime; about 4 minutes
for each part of each. What is not run stays as it was.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from tests.servers import nginx, sent

from benchmarks.measure import machine
from sprat.browser.delivered import deliveries
from sprat.browser.host import Host, serving, with_site
from sprat.browser.launch import Browser, launched, within
from sprat.browser.types import Delivery
from sprat.browser.visit import calibrated, line
from sprat.delivery.bundle import Shape
from sprat.workflow.bundle import bundle
from sprat.workflow.lean import Wanted

NETWORKS = (50.0, 10.0, 1.0)
RUNTIMES: tuple[Wanted, ...] = ("ort", "lean")
PARTS = ("visits", "change")
VISITS = 5
#: Calls of each run through the change: the first as many as are asked for, then the change alone.
CALLS = (1000, *(100,) * 6)
OUT = Path(__file__).parent / "results" / "fish_page.md"
HEAD = """| line | visit | first answer (least to most) | full model's answer | bytes | visits |
|---|---|---:|---:|---:|---:|"""
#: Ask again and again while the full model takes over; watch how long the page stands still.
SWAP = """async (calls) => {
  const { load } = await import("./loader.js");
  const model = await load("./manifest.json");
  const name = model.manifest.preprocess.input;
  const data = new Float32Array(3 * 224 * 224);
  const feeds = () => ({ [name]: { type: "float32", dims: [1, 3, 224, 224], data } });
  const order = [], roles = [], waiting = [];
  let longest = 0, last = performance.now(), more = true;
  const channel = new MessageChannel();
  channel.port1.onmessage = () => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
    if (more) channel.port2.postMessage(0);
  };
  channel.port2.postMessage(0);
  for (let i = 0; i < calls; i++) {
    waiting.push(model.run(feeds()).then(({ role }) => { order.push(i); roles.push(role); }));
    await new Promise((done) => setTimeout(done, 5));
  }
  await Promise.all(waiting);
  if (model.role !== "full") {
    await new Promise((done, fail) => { model.on("upgrade", done); model.on("error", fail); });
    await model.run(feeds());
  }
  more = false;
  return { order, roles, longest };
}"""


def row(d: Delivery) -> str:
    return (
        f"| {d.mbps:g} Mbps, {d.latency:g} ms | {d.visit} | {d.seconds:.2f} s "
        f"({d.spread.low:.2f} to {d.spread.high:.2f}) | {d.full:.2f} s | {d.bytes:,} | {d.visits} |"
    )


async def offline(browser: Browser, address: str, image: Path) -> str:
    """Visit, cut the line, and visit again."""
    async with browser.page() as page:
        for cut in (False, True):
            await page.context.set_offline(cut)
            await within(page.goto(f"{address}/"))
            await page.wait_for_selector("body[data-listens]", state="attached")
            await page.set_input_files("#file", str(image))
            await page.wait_for_selector("body[data-full]", state="attached", timeout=60_000)
            await page.wait_for_timeout(2000)
        seconds = float(await page.evaluate("document.body.dataset.full")) / 1000
    return f"| none: offline | second | {seconds:.2f} s | {seconds:.2f} s | 0 | 1 |"


async def swap(browser: Browser, address: str, calls: int) -> tuple[int, float]:
    """Ask again and again during the change; return the preview's answers and the longest pause."""
    async with browser.page() as page:
        await within(page.goto(f"{address}/manifest.json"))
        found = await within(page.evaluate(SWAP, calls), 600)
    if found["order"] != list(range(calls)):
        raise SystemExit("an answer was lost or came out of order")
    return found["roles"].count("preview"), found["longest"]


async def change(browser: Browser, address: str) -> str:
    runs = []
    for calls in CALLS:
        runs.append(await swap(browser, address, calls))
        print(calls, runs[-1], flush=True)
    pauses = [pause for _, pause in runs]
    return (
        f"{CALLS[0]} calls while the full model takes over: all answered, in order, the first "
        f"{runs[0][0]} by the preview. The page's own thread stood still for at most "
        f"{', '.join(f'{pause:.0f}' for pause in pauses)} ms in this run and in "
        f"{len(runs) - 1} of {CALLS[1]} calls: {max(pauses):.0f} ms."
    )


async def visits(browser: Browser, host: Host, address: str, image: Path, scratch: Path) -> str:
    rows = []
    for mbps in NETWORKS:
        network = await calibrated(browser, host, line(mbps))
        pair = await deliveries(
            browser, address, image, network, lambda: sent(scratch), visits=VISITS
        )
        rows += [row(d) for d in pair]
        print("\n".join(rows[-2:]), flush=True)
    rows.append(await offline(browser, address, image))
    return "\n".join([HEAD, *rows])


async def measured(site: Path, scratch: Path, image: Path, part: str) -> str:
    with nginx(site, scratch) as address, serving(with_site(Host())) as host:
        async with launched() as browser:
            if part == "change":
                found = await change(browser, address)
            else:
                found = await visits(browser, host, address, image, scratch)
            return f"{browser.name}, {nginx_version()}.\n\n{found}"


def nginx_version() -> str:
    said = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
    return said.strip().rpartition(": ")[2]


def sections() -> dict[str, str]:
    """Return what the file says so far, by heading."""
    found = OUT.read_text().split("\n## ")[1:] if OUT.is_file() else []
    return {text.partition("\n")[0]: text.partition("\n")[2].strip() for text in found}


def section(small: Path, image: Path, runtime: Wanted, part: str) -> str:
    with tempfile.TemporaryDirectory(prefix="page-") as place:
        site, scratch = Path(place) / "site", Path(place) / "nginx"
        scratch.mkdir()
        made = bundle(small, site, shape=Shape(host="nginx", page=True), runtime=runtime)
        found = asyncio.run(measured(site, scratch, image, part))
    sizes = ", ".join(
        f"{m.role} {sum(min(c.encoded.values()) for c in m.chunks):,}" for m in made.models
    )
    return f"{datetime.now(UTC):%Y-%m-%d}. Models on the wire: {sizes} bytes. {machine()}. {found}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fish_page", description=__doc__)
    parser.add_argument("small", type=Path, help="what optimize wrote")
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--runtime", choices=RUNTIMES, help="both without")
    parser.add_argument("--part", choices=PARTS, help="both without")
    options = parser.parse_args()
    known = sections()
    for runtime in RUNTIMES if options.runtime is None else (options.runtime,):
        for part in PARTS if options.part is None else (options.part,):
            heading = f"`--runtime {runtime} --part {part}`"
            known[heading] = section(options.small, options.image, runtime, part)
    texts = [f"## {heading}\n\n{known[heading]}\n" for heading in sorted(known)]
    head = "# A bundle on nginx\n\n`python -m benchmarks.fish_page`: the fish doodle classifier.\n"
    OUT.write_text("\n".join([head, *texts]))
    print(OUT.read_text())


if __name__ == "__main__":
    main()
