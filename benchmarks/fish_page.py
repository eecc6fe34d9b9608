"""A bundle on a real nginx, visited by a real Chromium over throttled lines.

Usage:
    sprat optimize MODEL --data DOODLES --out SMALL --preview 150000
    python -m benchmarks.fish_page SMALL --image DOODLE.png

Needs nginx with its brotli-static module. The visitor gives an image as soon as the page listens;
times count from the start of the navigation to the preview's and to the full model's answer. Writes
``benchmarks/results/fish_page.md``, for ONNX Runtime Web and for the lean runtime; about 8 minutes.
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
VISITS = 5
CALLS = 1000
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


async def swap(browser: Browser, address: str) -> str:
    """Ask a thousand times during the change."""
    async with browser.page() as page:
        await within(page.goto(f"{address}/manifest.json"))
        found = await within(page.evaluate(SWAP, CALLS), 600)
    if found["order"] != list(range(CALLS)):
        raise SystemExit("an answer was lost or came out of order")
    roles = found["roles"]
    return (
        f"{CALLS} calls while the full model takes over: all answered, in order, the first "
        f"{roles.count('preview')} by the preview. The page's own thread stood still for "
        f"{found['longest']:.0f} ms at most."
    )


async def measured(site: Path, scratch: Path, image: Path) -> str:
    rows = []
    with nginx(site, scratch) as address, serving(with_site(Host())) as host:
        async with launched() as browser:
            for mbps in NETWORKS:
                network = await calibrated(browser, host, line(mbps))
                pair = await deliveries(
                    browser, address, image, network, lambda: sent(scratch), visits=VISITS
                )
                rows += [row(d) for d in pair]
                print("\n".join(rows[-2:]), flush=True)
            rows.append(await offline(browser, address, image))
            change = await swap(browser, address)
            table = "\n".join(rows)
            return f"{browser.name}, {nginx_version()}.\n\n{HEAD}\n{table}\n\n{change}\n"


def nginx_version() -> str:
    said = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
    return said.strip().rpartition(": ")[2]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fish_page", description=__doc__)
    parser.add_argument("small", type=Path, help="what optimize wrote")
    parser.add_argument("--image", type=Path, required=True)
    options = parser.parse_args()
    parts = [
        "# A bundle on nginx\n\n"
        f"`python -m benchmarks.fish_page`, {datetime.now(UTC):%Y-%m-%d}. {machine()}. The fish "
        "doodle classifier."
    ]
    for runtime in RUNTIMES:
        with tempfile.TemporaryDirectory(prefix="page-") as place:
            site, scratch = Path(place) / "site", Path(place) / "nginx"
            scratch.mkdir()
            shape = Shape(host="nginx", page=True)
            made = bundle(options.small, site, shape=shape, runtime=runtime)
            found = asyncio.run(measured(site, scratch, options.image))
        sizes = ", ".join(
            f"{m.role} {sum(min(c.encoded.values()) for c in m.chunks):,}" for m in made.models
        )
        parts.append(f"## `--runtime {runtime}`\n\nModels on the wire: {sizes} bytes. {found}")
    OUT.write_text("\n\n".join(parts))
    print(OUT.read_text())


if __name__ == "__main__":
    main()
