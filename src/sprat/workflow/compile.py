"""``compile``: a model for the lean runtime, checked where it will run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import brotli
import numpy as np
import onnx

from sprat.browser.lean import Answer, Case, Place, answers, find_node, runtime_brotli
from sprat.data.options import DataOptions, read_options
from sprat.data.sources import open_data
from sprat.errors import DataNotFoundError, LeanMismatchError
from sprat.files import write_atomic
from sprat.graph.proof import gap
from sprat.lean.compile import Compiled, compile_model
from sprat.lean.plan import Plan, plan_text
from sprat.model.inspect import tensor_infos
from sprat.model.load import load, model_file
from sprat.model.session import Feeds, open_session, run
from sprat.progress import Progress, silent

PLAN, WEIGHTS = "plan.json", "weights.bin"
#: Inputs that are tried where there is no data.
_RANDOM = 4


@dataclass(frozen=True)
class Compilation:
    """What was written, and how it was checked.

    Attributes:
        plan: Where the plan went.
        weights: Where the weights went.
        steps: Number of steps by operator.
        memory: Bytes of activations and constants that stay.
        plan_brotli: Bytes of the plan in br-11.
        weights_bytes: Bytes of the weights.
        runtime_brotli: Bytes in br-11 of what a page needs beside plan and weights.
        place: Where it was run.
        samples: On so many inputs.
        real: The inputs were samples of the data, not random.
        largest: The largest difference of an output from native ONNX Runtime's.
        heap: Bytes of WebAssembly memory.
    """

    plan: Path
    weights: Path
    steps: dict[str, int]
    memory: int
    plan_brotli: int
    weights_bytes: int
    runtime_brotli: int
    place: Place
    samples: int
    real: bool
    largest: float
    heap: int


def compile(  # the command's name
    model: Path,
    out: Path,
    *,
    data: str | Path | None = None,
    options: DataOptions | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    samples: int = 16,
    place: Place | None = None,
    progress: Progress = silent,
) -> Compilation:
    """Compile a model for the lean runtime, and check it against native ONNX Runtime.

    Nothing is written before the lean runtime has answered every input as native does: within a
    thousandth of the output's largest value.

    Args:
        model: The model's file, or a folder that ``optimize`` wrote.
        out: Folder for ``plan.json`` and ``weights.bin``.
        data: Folder, CSV, npz or ``package.module:function``; None takes seeded random inputs.
        options: Preprocessing options; they go before ``sprat.toml``.
        shapes: Shapes of inputs by name; those of the data by default, and a batch of 1.
        samples: At most so many inputs are tried.
        place: ``node`` or ``chromium``; Node where there is one, by default.
        progress: Told how far the work is.

    Returns:
        What was written.

    Raises:
        LeanUnsupportedError: The lean runtime cannot do a node, which is named.
        LeanMismatchError: It answers otherwise than native.
        InputError: The model, the data or an option is wrong.
    """
    path = model_file(model)
    found = checked(
        path,
        load(path),
        data,
        options,
        shapes=shapes,
        samples=samples,
        place=place,
        progress=progress,
    )
    text = plan_text(found.made.plan)
    write_atomic(out / WEIGHTS, found.made.weights)
    write_atomic(out / PLAN, text)
    return Compilation(
        plan=out / PLAN,
        weights=out / WEIGHTS,
        steps=dict(Counter(step.op for step in found.made.plan.steps).most_common()),
        memory=4 * found.made.plan.memory,
        plan_brotli=len(brotli.compress(text.encode(), quality=11)),
        weights_bytes=len(found.made.weights),
        runtime_brotli=runtime_brotli(),
        place=place or ("node" if find_node() is not None else "chromium"),
        samples=found.samples,
        real=data is not None,
        largest=found.largest,
        heap=found.heap,
    )


@dataclass(frozen=True)
class Checked:
    """A compiled model that answered as native does.

    Attributes:
        made: The plan and its weights.
        samples: On so many inputs.
        largest: The largest difference of an output.
        heap: Bytes of WebAssembly memory.
    """

    made: Compiled
    samples: int
    largest: float
    heap: int


def checked(
    path: Path,
    model: onnx.ModelProto,
    data: str | Path | None = None,
    options: DataOptions | None = None,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    samples: int = 16,
    place: Place | None = None,
    progress: Progress = silent,
) -> Checked:
    """Compile a loaded model, and check it; arguments and errors are :func:`compile`'s."""
    feeds = [] if data is None else _samples(path, model, data, options, samples)
    if feeds:
        shapes = {name: values.shape for name, values in feeds[0].items()} | dict(shapes or {})
    made = compile_model(model, shapes=shapes, progress=progress)
    feeds = feeds or [_random(made.plan, seed) for seed in range(min(samples, _RANDOM))]
    progress("checking", 0, 1)
    answer = answers([Case(plan_text(made.plan), made.weights, tuple(feeds))], place)[0]
    largest = _compared(path, model, feeds, answer)
    progress("checking", 1, 1)
    return Checked(made, len(feeds), largest, answer.heaps[1])


def _samples(
    path: Path,
    model: onnx.ModelProto,
    data: str | Path,
    options: DataOptions | None,
    count: int,
) -> list[Feeds]:
    """Return evenly spread samples of the data, one in each batch."""
    place = Path(data) if Path(data).exists() else None
    chosen = read_options(path, place, options)
    dataset = open_data(data, tensor_infos(model), options=chosen).choice
    total = len(dataset.samples)
    if not total:
        raise DataNotFoundError("there are no samples to check on.", where=str(data))
    taken = min(count, total)
    return [dataset.batch([i * total // taken]) for i in range(taken)]


def _random(plan: Plan, seed: int) -> Feeds:
    """Return seeded inputs: standard normal, or whole numbers from 0 to 9."""
    random = np.random.default_rng(seed)
    return {
        t.name: random.standard_normal(t.shape).astype(np.float32)
        if t.type == "float32"
        else random.integers(0, 2 if t.type == "bool" else 10, t.shape).astype(t.type)
        for t in plan.inputs
    }


def _compared(path: Path, model: onnx.ModelProto, feeds: Sequence[Feeds], answer: Answer) -> float:
    """Return the largest difference from native.

    Raises:
        LeanMismatchError: An output differs by more than is allowed, or the runtime refused.
    """
    if answer.error:
        raise LeanMismatchError(
            f"the lean runtime refused its own plan: {answer.error}",
            where=str(path),
            hint="This is a fault in Sprat: please report it.",
        )
    session = open_session(model)
    largest = 0.0
    for index, (fed, got) in enumerate(zip(feeds, answer.outputs, strict=True)):
        for name, wanted in run(session, fed).items():
            off, allowed = gap(wanted, got.get(name))
            largest = max(largest, off)
            if not off <= allowed:
                raise LeanMismatchError(
                    f"output {name!r} of input {index} differs from native by {off:.2g}; "
                    f"{allowed:.2g} is allowed.",
                    where=str(path),
                    hint="Use ONNX Runtime Web for this model, and report this.",
                )
    return largest
