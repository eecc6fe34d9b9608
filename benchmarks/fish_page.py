"""A bundle on a real nginx, visited by a real Chromium over throttled lines.

Usage:
    sprat optimize MODEL --data DOODLES --out SMALL --preview 150000
    python -m benchmarks.fish_page SMALL --image DOODLE.png

Needs nginx with its brotli-static module. The visitor gives an image as soon as the page is there;
times count from the start of the navigation to the preview's and to the full model's answer.
Prints a table.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sprat.browser.host import Host, serving, with_site
from sprat.browser.launch import Browser, launched, within
from sprat.browser.visit import Line, calibrated, line, throttle
from sprat.delivery.bundle import Shape
from sprat.workflow.bundle import bundle

NETWORKS = (50.0, 10.0, 1.0)
VISITS = 5
MODULE = "/usr/lib/nginx/modules/ngx_http_brotli_static_module.so"


@contextmanager
def nginx(site: Path, scratch: Path) -> Iterator[str]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    user = "user root;\n" if os.geteuid() == 0 else ""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {scratch}/{kind};\n" for kind in kinds)
    (scratch / "nginx.conf").write_text(
        f"load_module {MODULE};\n{user}daemon off; pid {scratch}/pid; events {{}}\n"
        f"http {{ access_log off; {temporary} server {{ listen 127.0.0.1:{port}; root {site};\n"
        f"index index.html; include {site}/nginx.conf; }} }}\n"
    )
    command = ["nginx", "-e", "stderr", "-p", str(scratch), "-c", str(scratch / "nginx.conf")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    time.sleep(1)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


async def visit(page: Any, address: str, image: Path, limit: float) -> dict[str, float]:
    sent: list[float] = []
    session = await page.context.new_cdp_session(page)
    await session.send("Network.enable")
    session.on("Network.loadingFinished", lambda e: sent.append(e["encodedDataLength"]))
    await within(page.goto(f"{address}/", wait_until="commit"), limit)
    listening = "#status:not(:empty)"
    await page.wait_for_selector(listening, state="attached", timeout=1000 * limit)
    await page.set_input_files("#file", str(image))
    await page.wait_for_selector("body[data-full]", state="attached", timeout=1000 * limit)
    found = await page.evaluate("({...document.body.dataset})")
    full = float(found["full"]) / 1000
    return {
        "first": float(found.get("preview", found["full"])) / 1000,
        "full": full,
        "bytes": sum(sent),
    }


async def visits(browser: Browser, address: str, image: Path, network: Line) -> list[str]:
    rows = []
    firsts, seconds = [], []
    for _ in range(VISITS if network.mbps > 1 else 2):
        async with browser.page() as page:
            await throttle(page, network)
            firsts.append(await visit(page, address, image, 120))
            await page.wait_for_timeout(3000)  # the cache and the service worker settle
            seconds.append(await visit(page, address, image, 120))
    for name, found in (("first", firsts), ("second", seconds)):
        first, full, size = (np.median([f[k] for f in found]) for k in ("first", "full", "bytes"))
        rows.append(
            f"| {network.mbps:g} Mbps, {network.latency:g} ms | {name} | {first:.2f} s | "
            f"{full:.2f} s | {size:,.0f} |"
        )
        print(rows[-1], flush=True)
    return rows


async def measured(site: Path, scratch: Path, image: Path) -> None:
    print("| line | visit | first answer | full model's answer | bytes |\n|---|---|---:|---:|---:|")
    with nginx(site, scratch) as address, serving(with_site(Host())) as host:
        async with launched() as browser:
            for mbps in NETWORKS:
                network = await calibrated(browser, host, line(mbps))
                await visits(browser, address, image, network)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fish_page", description=__doc__)
    parser.add_argument("small", type=Path, help="what optimize wrote")
    parser.add_argument("--image", type=Path, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="page-") as place:
        site, scratch = Path(place) / "site", Path(place) / "nginx"
        scratch.mkdir()
        bundle(options.small, site, shape=Shape(host="nginx", page=True))
        asyncio.run(measured(site, scratch, options.image))


if __name__ == "__main__":
    main()
