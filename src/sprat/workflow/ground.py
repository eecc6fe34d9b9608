"""What a proof stands on: the samples for both runtimes, and native's answers to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from sprat.data.dataset import Dataset
from sprat.data.options import DataOptions
from sprat.data.sources import open_data
from sprat.errors import DataError
from sprat.evaluate.evaluate import Reference, reference_on
from sprat.evaluate.predict import predict_all
from sprat.graph import proof
from sprat.model.inspect import fixed_batch, tensor_infos
from sprat.model.load import load
from sprat.model.session import Feeds, Outputs
from sprat.progress import Progress
from sprat.workflow.setting import Setting, Split, open_setting

#: Image files that browsers read.
_SEEN = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"})


@dataclass(frozen=True)
class Ground:
    """A model that native ONNX Runtime takes, with the inputs that both runtimes get.

    Attributes:
        title: The model's file name.
        model: The model.
        original: The original; None without one.
        feeds: Makes each run's inputs.
        size: Copies of one sample in a run: the model's fixed batch size, else 1.
        own: The model's own native answers on real samples; None without data.
        reference: The original's native answers on them; None without data or original.
        noise: Native outputs on seeded noise, one for each run; empty with data.
        images: The samples' files, where the page can make the input of them by itself.
        preprocess: How, as JSON; None where it cannot.
        setting: What opened the data.
        notes: Guesses and shortfalls, in words.
    """

    title: str
    model: onnx.ModelProto
    original: onnx.ModelProto | None
    feeds: tuple[Callable[[], Feeds], ...]
    size: int = 1
    own: Reference | None = None
    reference: Reference | None = None
    noise: tuple[Outputs, ...] = ()
    images: tuple[Path, ...] = ()
    preprocess: dict[str, Any] | None = None
    setting: Setting | None = None
    notes: tuple[str, ...] = ()

    def pictures(self) -> dict[str, Path]:
        """Return the images of all samples: a record names some beyond those that were proved."""
        if self.setting is None:
            return {}
        infos = tensor_infos(self.setting.model)
        data = open_data(self.setting.data.source, infos, options=self.setting.options)
        parts = (data.choice, data.final)
        return {s.name: s.path for part in parts for s in part.samples if s.path is not None}


def on_noise(path: Path, model: onnx.ModelProto, reference: Path | None) -> Ground:
    """Stand on seeded noise: it shows whether the runtimes agree, and no accuracy.

    Raises:
        ModelError: A model cannot be read or run.
        ShapeMismatchError: No noise fits the inputs.
    """
    native = proof.prepare(model)
    for outputs in native.outputs:
        for name, values in outputs.items():
            if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
                raise DataError(
                    f"output {name!r} is no tensor of numbers (a sequence, a map or text).",
                    where=str(path),
                    hint="Export the model with tensors of scores as its outputs.",
                )
    return Ground(
        path.name,
        model,
        load(reference) if reference is not None else None,
        tuple(partial(_same, feeds) for feeds in native.feeds),
        noise=native.outputs,
        notes=("no data was given: the inputs are noise, and accuracy was not measured",),
    )


def _same(feeds: Feeds) -> Feeds:
    return feeds


def on_data(
    path: Path,
    model: onnx.ModelProto,
    reference: Path | None,
    data: str | Path,
    options: DataOptions | None,
    samples: int,
    split: Split,
    progress: Progress,
) -> Ground:
    """Stand on real samples.

    Args:
        path: The model's file.
        model: The model.
        reference: The original's file, if any.
        data: Folder, CSV, npz or ``package.module:function``.
        options: Preprocessing and output options.
        samples: At most so many.
        split: ``test`` or ``val``.
        progress: Told how far the work is.

    Raises:
        InputError: A model, the data or an option is wrong.
    """
    setting = open_setting(
        reference or path, data, options, limit=samples, split=split, progress=progress
    )
    dataset = setting.reference.dataset
    size = fixed_batch(model) or 1
    own = reference_on(
        model,
        dataset,
        split,
        setting.reference.reading,
        outputs=predict_all(model, dataset, size, progress, names=tuple(setting.reference.outputs)),
        size=size,
        metric=setting.reference.metric,
    )
    images, shortfall = _images(setting, model, dataset, size)
    how = setting.data.preprocess
    return Ground(
        path.name,
        model,
        setting.model if reference is not None else None,
        tuple(partial(dataset.batch, [i] * size) for i in range(len(dataset.samples))),
        size=size,
        own=own,
        reference=setting.reference if reference is not None else None,
        images=images,
        preprocess=how.as_json() if images and how is not None else None,
        setting=setting,
        notes=(*setting.notes, *shortfall),
    )


def _images(
    setting: Setting, model: onnx.ModelProto, dataset: Dataset, size: int
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Return the files of which the page makes the input by itself, or why it cannot."""
    how = setting.data.preprocess
    if how is None:
        return (), ()
    known = {tensor.name for tensor in model.graph.initializer}
    inputs = [v.name for v in model.graph.input if v.name not in known]
    if size != 1 or inputs != [how.input]:
        return (), ("the page cannot make this input: it has a fixed batch, or several inputs",)
    paths = tuple(s.path for s in dataset.samples if s.path is not None)
    if any(path.suffix.lower() not in _SEEN for path in paths):
        return (), ("some samples are images that browsers do not read, such as TIFF",)
    return paths, ()
