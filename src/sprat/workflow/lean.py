"""Which runtime a bundle brings: ONNX Runtime Web, the lean one, or the earlier of both."""

from __future__ import annotations

import asyncio
import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import onnx
from PIL import Image

from sprat.browser.delivered import first_answer
from sprat.browser.host import Host, serving, with_site
from sprat.browser.launch import launched
from sprat.browser.lean import runtime_brotli
from sprat.browser.static import serving_folder
from sprat.browser.visit import calibrated, line
from sprat.delivery.bundle import Contents
from sprat.delivery.hosts import page_headers
from sprat.delivery.manifest import Manifest
from sprat.errors import (
    BrowserError,
    BrowserMissingError,
    LeanMismatchError,
    LeanUnsupportedError,
    ShapeMismatchError,
    UnsupportedModelError,
)
from sprat.files import sha256
from sprat.lean.pack import packed
from sprat.model.wire import RUNTIME_BROTLI_BYTES, download_seconds
from sprat.progress import Progress
from sprat.workflow.compile import checked

Wanted = Literal["auto", "lean", "ort"]
Made = tuple[dict[str, bytes], Manifest]
Tell = Callable[[str], None]

_MBPS = 10.0
#: What says that the lean runtime is not for a model.
_REFUSALS = (LeanUnsupportedError, LeanMismatchError)
#: What leaves it open: native takes no random input, or there is nothing to run the plan in.
_HINDRANCES = (UnsupportedModelError, ShapeMismatchError, BrowserMissingError, BrowserError)


def with_runtime(
    path: Path,
    contents: Contents,
    wanted: Wanted,
    make: Callable[[Contents], Made],
    progress: Progress,
    tell: Tell,
) -> Made:
    """Make a bundle with the runtime that is wanted.

    ``auto`` takes the one that answers a first visitor earlier at 10 Mbps. Where the lean runtime's
    first answer, from its bytes in memory, takes less time than ONNX Runtime Web takes to arrive
    (1.8 s), that is certain without a visit. Else both pages are visited in Chromium.

    Args:
        path: The model's file, for errors.
        contents: With ONNX models.
        wanted: Which runtime.
        make: Makes a bundle of contents.
        progress: Told how far the work is.
        tell: Told in one line why ``auto`` took a runtime.

    Raises:
        LeanUnsupportedError: The lean runtime was asked for, and cannot do a node.
        LeanMismatchError: It was asked for, and answers otherwise than native.
        BrowserMissingError: It was asked for, and there is neither Node nor Chromium.
        BrowserError: It was asked for, and what should run it crashed, hung or does not start.
        UnsupportedModelError: It was asked for, and native cannot answer the random inputs.
        ShapeMismatchError: It was asked for, and no random inputs fit.
    """
    general = replace(contents, then=None)
    if wanted == "ort":
        return make(general)
    try:
        lean, seconds = _compiled(path, contents, progress)
    except (*_REFUSALS, *_HINDRANCES) as error:
        if wanted == "lean":
            raise
        why = "does not do it" if isinstance(error, _REFUSALS) else "could not be checked"
        tell(f"ONNX Runtime Web: the lean runtime {why} ({error})")
        return make(general)
    if wanted == "lean":
        return make(lean)
    arrives = download_seconds(RUNTIME_BROTLI_BYTES - runtime_brotli(), _MBPS)
    if seconds < arrives:
        tell(
            f"the lean runtime: it answers {seconds:.2f} s after its bytes are there, before ONNX "
            f"Runtime Web would have arrived ({arrives:.1f} s more at {_MBPS:g} Mbps)"
        )
        return make(lean)
    first = make(general)
    if "index.html" not in first[0] or contents.preprocess is None:
        tell("ONNX Runtime Web: without a page nothing can be visited, and the model is slow")
        return first
    return _earlier(first, make(lean), progress, tell)


def _compiled(path: Path, contents: Contents, progress: Progress) -> tuple[Contents, float]:
    """Return the contents for the lean runtime, and the seconds that its first answer takes."""
    found = [
        (role, checked(path, onnx.load_from_string(content), progress=progress))
        for role, content in contents.models
    ]
    sources = {role: sha256(content) for role, content in contents.models}
    models = [(role, packed(one.made)) for role, one in found]
    made = replace(contents, models=models, runtime="lean", sources=sources)
    return made, found[0][1].seconds


def _earlier(general: Made, lean: Made, progress: Progress, tell: Tell) -> Made:
    """Return the bundle whose page answers a first visitor earlier in Chromium."""
    try:
        visits = asyncio.run(_visited((general, lean), progress))
    except (BrowserMissingError, BrowserError) as error:
        tell(f"ONNX Runtime Web: no visit could be timed ({error})")
        return general
    ort, other = visits
    name = "the lean runtime" if other < ort else "ONNX Runtime Web"
    tell(f"{name}: first answers at {_MBPS:g} Mbps after {other:.2f} s (lean) and {ort:.2f} s")
    return lean if other < ort else general


async def _visited(made: Sequence[Made], progress: Progress) -> list[float]:
    """Visit the page of each bundle for the first time; seconds to the first answer."""
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
                progress("visiting with each runtime", i, len(made))
                site = Path(name) / str(i)
                for path, content in files.items():
                    (site / path).parent.mkdir(parents=True, exist_ok=True)
                    (site / path).write_bytes(content)
                with serving_folder(site, page_headers(True)) as address:
                    found.append(await first_answer(browser, address, image, network))
    progress("visiting with each runtime", len(made), len(made))
    return found
