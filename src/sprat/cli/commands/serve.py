"""``sprat serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sprat.cli.options import PortOption
from sprat.cli.screen import open_page, say, wait_for_interrupt
from sprat.errors import DataNotFoundError


def command(
    site: Annotated[Path, typer.Argument(help="A folder that bundle wrote.", show_default=False)],
    port: PortOption = 0,
    network: Annotated[
        float | None,
        typer.Option("--network", min=0.05, help="Slow the line down to so many Mbps."),
    ] = None,
    open_: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in the browser.")
    ] = True,
) -> None:
    """Serve a bundle on this machine as a static host would, until Ctrl-C.

    Compressed files are negotiated, immutable files are kept, nothing outside the folder is served.
    The page is always isolated (COOP, COEP), so threads work here whatever the host is told. A
    bundle made without --page has no page to open: its files are served all the same.

    \b
    Examples:
      sprat serve site
      sprat serve site --network 10 --port 8000 --no-open
    """
    from sprat.browser.static import serving_folder
    from sprat.delivery.hosts import page_headers
    from sprat.delivery.manifest import is_bundle

    if not is_bundle(site):
        raise DataNotFoundError(
            "is no bundle.", where=str(site), hint="Make one with 'sprat bundle MODEL --out DIR'."
        )
    with serving_folder(site, page_headers(True), port=port, mbps=network) as address:
        has_page = (site / "index.html").is_file()
        where = f"{address}/" if has_page else f"{address}/manifest.json, no page"
        say(f"{where}  (Ctrl-C ends it)")
        if open_ and has_page:
            open_page(f"{address}/")
        wait_for_interrupt()
