"""``try``: a local page on which a person draws and sees what both models say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import brotli

from sprat.browser.host import Host, serving, with_site
from sprat.browser.runtime import bundled
from sprat.data.options import DataOptions
from sprat.errors import OptionError
from sprat.model.inspect import fixed_batch
from sprat.model.load import load, model_file, total_bytes
from sprat.model.wire import wire_bytes
from sprat.progress import Progress, silent
from sprat.workflow.setting import Setting, check_class, open_setting, reading_record

#: Images that the page offers, and those that decide how the output is read.
SAMPLES = 48


@contextmanager
def tryout(
    place: Path,
    reference: Path,
    data: str | Path,
    *,
    options: DataOptions | None = None,
    port: int = 0,
    progress: Progress = silent,
) -> Iterator[str]:
    """Serve the page on the loopback interface while inside.

    Args:
        place: The small model's file, or a folder that ``optimize`` wrote.
        reference: The original.
        data: Images as for ``optimize``: they tell the preprocessing and the classes, and some are
            offered as samples.
        options: Preprocessing and output options; they go before ``sprat.toml``.
        port: 0 takes any free one.
        progress: Told how far the work is.

    Yields:
        The page's address. It holds a secret token, so that other users of this machine cannot
        see the samples: do not pass it on as an argument of a program.

    Raises:
        InputError: A model, the data or an option is wrong, the samples are no images, or the
            output is no class.
        OutputError: The port is taken.
    """
    path = model_file(place)
    setting = open_setting(reference, data, options, limit=SAMPLES, split="test", progress=progress)
    host = with_site(Host())
    host.add_json("/try.json", _page(setting, path, host, progress))
    host.files["/"] = host.files["/try.html"]
    with serving(host, port):
        yield f"{host.address}/"


def _page(setting: Setting, path: Path, host: Host, progress: Progress) -> dict[str, Any]:
    how, reading = setting.data.preprocess, setting.reference.reading
    if how is None:
        raise OptionError(
            "the page draws images, and these samples are none.",
            where="--data",
            hint="Give a folder or a CSV of images; 'sprat compare' takes any samples.",
        )
    check_class(
        reading.kind,
        where="--output-kind",
        hint="'sprat compare' tells how far such outputs are apart.",
    )
    size = fixed_batch(setting.model) or 1
    if size != 1:
        raise OptionError(
            f"the model takes {size} images at once; the page gives one.",
            where=str(setting.path),
            hint="Export it with a batch of 1, or of any size.",
        )
    model = load(path).SerializeToString(deterministic=True)
    progress("compressing for the page", 0, 1)
    small = brotli.compress(model, lgwin=22)
    before = wire_bytes(total_bytes(setting.path), exact=False).brotli
    progress("compressing for the page", 1, 1)
    original = setting.model.SerializeToString(deterministic=True)
    host.add("/models/small.onnx", small, "br")
    host.add("/models/original.onnx", original)
    samples = [s for s in setting.reference.dataset.samples if s.path is not None]
    for i, sample in enumerate(samples):
        assert sample.path is not None
        host.add(f"/images/{i}", sample.path.read_bytes)
    classes = list(setting.data.choice.classes)
    return {
        "runtime": bundled().addresses(),
        "models": {
            "small": {"address": "./models/small.onnx", "bytes": len(small)},
            "original": {"address": "./models/original.onnx", "bytes": before},
        },
        "preprocess": how.as_json(),
        "reading": reading_record(reading).model_dump(mode="json"),
        "classes": classes,
        "samples": [classes[s.label] if s.label is not None else "" for s in samples],
    }
