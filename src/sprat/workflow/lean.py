"""Which runtime a bundle brings: ONNX Runtime Web, the lean one, or the earlier of both."""

from __future__ import annotations

import asyncio
import io
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import onnx
from PIL import Image

from sprat.browser.host import Host, serving, with_site
from sprat.browser.launch import launched
from sprat.browser.types import Delivery
from sprat.browser.visit import calibrated, line
from sprat.delivery.bundle import Contents
from sprat.delivery.manifest import Manifest
from sprat.errors import (
    BrowserError,
    BrowserMissingError,
    LeanMismatchError,
    LeanUnsupportedError,
)
from sprat.files import sha256
from sprat.lean.pack import packed
from sprat.progress import Progress
from sprat.workflow.compile import checked
from sprat.workflow.visitor import visit_site

Wanted = Literal["auto", "lean", "ort"]
Made = tuple[dict[str, bytes], Manifest]

_MBPS = 10.0


def with_runtime(
    path: Path, contents: Contents, wanted: Wanted, progress: Progress
) -> Iterator[Contents]:
    """Yield the contents for each runtime that comes into question.

    Args:
        path: The model's file, for errors.
        contents: With ONNX models.
        wanted: ``auto`` goes without the lean runtime where that cannot do the model.
        progress: Told how far the work is.

    Raises:
        LeanUnsupportedError: The lean runtime was asked for, and cannot do a node.
        LeanMismatchError: It was asked for, and answers otherwise than native.
    """
    if wanted != "lean":
        yield replace(contents, then=None)
    if wanted == "ort":
        return
    try:
        models = [
            (role, packed(checked(path, onnx.load_from_string(content), progress=progress).made))
            for role, content in contents.models
        ]
    except (LeanUnsupportedError, LeanMismatchError):
        if wanted == "lean":
            raise
        return
    sources = {role: sha256(content) for role, content in contents.models}
    yield replace(contents, models=models, runtime="lean", sources=sources)


def earlier(made: Sequence[Made], contents: Contents, progress: Progress) -> Made:
    """Return the bundle whose page answers a first visitor earlier.

    Without a page, without Chromium, or on a machine too busy to trust its throttle, nothing can
    be measured: the lean runtime is taken, which is a thirtieth of the bytes.

    Args:
        made: One bundle for each runtime.
        contents: What they are made from.
        progress: Told how far the work is.
    """
    pages = all("index.html" in files for files, _ in made)
    if not pages or contents.preprocess is None:
        return made[-1]
    try:
        visits = asyncio.run(_visited(made, progress))
    except (BrowserMissingError, BrowserError):
        return made[-1]
    return made[visits.index(min(visits, key=lambda d: d.seconds))]


async def _visited(made: Sequence[Made], progress: Progress) -> list[Delivery]:
    """Visit the page of each bundle for the first time."""
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), "white").save(picture, "PNG")
    found = []
    with tempfile.TemporaryDirectory(prefix="sprat-runtimes-") as name:
        image = Path(name) / "image.png"
        image.write_bytes(picture.getvalue())
        async with launched() as browser:
            with serving(with_site(Host())) as host:
                network = await calibrated(browser, host, line(_MBPS))
            for i, (files, _) in enumerate(made):
                site = Path(name) / str(i)
                for path, content in files.items():
                    (site / path).parent.mkdir(parents=True, exist_ok=True)
                    (site / path).write_bytes(content)
                found.append((await visit_site(browser, site, image, [network], progress))[0])
    return found
