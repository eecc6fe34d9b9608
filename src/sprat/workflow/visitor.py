"""Visit a bundle as a visitor would, over slow networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sprat.browser.delivered import deliveries
from sprat.browser.launch import Browser
from sprat.browser.static import serving_folder
from sprat.browser.types import Delivery
from sprat.browser.visit import Line
from sprat.delivery.hosts import page_headers
from sprat.delivery.manifest import read_manifest
from sprat.errors import OptionError
from sprat.files import sha256
from sprat.progress import Progress
from sprat.workflow.ground import Ground


def check_site(site: Path, ground: Ground) -> None:
    """Refuse a folder that a visitor of this model's page could not use.

    Args:
        site: The folder.
        ground: The model that is proved, and the images that a visitor may give.

    Raises:
        OptionError: It is no bundle, has no page, holds another model, or there are no images.
    """
    manifest = read_manifest(site)
    if manifest is None or not (site / "index.html").is_file():
        raise OptionError(
            f"{site} is no bundle with a page.",
            where="--site",
            hint="Make one: sprat bundle MODEL --out SITE --page",
        )
    content = ground.model.SerializeToString(deterministic=True)
    full = {m.source or m.sha256 for m in manifest.models if m.role == "full"}
    if sha256(content) not in full:
        raise OptionError(
            f"{site} holds another model.", where="--site", hint="Make the bundle again."
        )
    if not ground.images:
        raise OptionError("needs --data with images.", where="--site")


async def visit_site(
    browser: Browser, site: Path, image: Path, networks: Sequence[Line], progress: Progress
) -> tuple[Delivery, ...]:
    """Visit a bundle over each network, twice with one cache.

    Args:
        browser: A Chromium.
        site: The bundle.
        image: What the visitor gives.
        networks: How fast; calibrated.
        progress: Told how far the work is.

    Returns:
        First and second visits, by network.

    Raises:
        BrowserError: There was no answer.
    """
    sent: list[int] = []
    found: list[Delivery] = []
    with serving_folder(site, page_headers(True), sent=sent.append) as address:
        for i, network in enumerate(networks):
            progress("visiting the bundle", i, len(networks))
            found += await deliveries(browser, address, image, network, lambda: sum(sent))
    progress("visiting the bundle", len(networks), len(networks))
    return tuple(found)
