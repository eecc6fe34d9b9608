"""``compile``: a model for the lean runtime, checked where it will run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

from sprat.browser.lean import Answer, Case, Place, answers, runtime_brotli, runtime_files
from sprat.browser.types import LeanTry
from sprat.data.dataset import Dataset
from sprat.data.options import DataOptions, read_options
from sprat.data.sources import open_data
from sprat.errors import (
    BrowserError,
    BrowserMissingError,
    LeanMismatchError,
    LeanUnsupportedError,
    OutputError,
)
from sprat.files import is_there
from sprat.graph.proof import gap, noise
from sprat.lean.compile import Compiled, compile_model
from sprat.lean.plan import Plan, plan_text
from sprat.model.inspect import TensorInfo, fixed_batch, tensor_infos
from sprat.model.load import load, model_file
from sprat.model.nodes import printable, shown
from sprat.model.session import Feeds, open_session, run
from sprat.model.wire import brotli_bytes
from sprat.output import OutputFolder
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
    runtime: bool = False,
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
        place: ``node`` or ``chromium``; Node where there is one, by default. Without Node it is
            Chromium.
        runtime: Write the runtime's files beside plan and weights, too.
        progress: Told how far the work is.

    Returns:
        What was written.

    Raises:
        LeanUnsupportedError: The lean runtime cannot do a node, which is named.
        LeanMismatchError: It answers otherwise than native.
        InputError: The model, the data or an option is wrong.
        OutputError: Something cannot be written, or the lean runtime was not built.
    """
    path = model_file(model)
    folder = OutputFolder(out, "compile", (path,))
    beside = runtime_files() if runtime else {}
    folder.check((WEIGHTS, PLAN, *beside))
    loaded = load(path)
    feeds = () if data is None else real_feeds(path, loaded, data, options, samples)
    trial = Trial(feeds, shapes or {}, min(samples, _RANDOM), place)
    found = checked(path, loaded, trial, progress)
    text = plan_text(found.made.plan)
    folder.write({WEIGHTS: found.made.weights, PLAN: text, **beside})
    return Compilation(
        plan=out / PLAN,
        weights=out / WEIGHTS,
        steps=dict(Counter(step.op for step in found.made.plan.steps).most_common()),
        memory=4 * found.made.plan.memory,
        plan_brotli=brotli_bytes(text.encode()),
        weights_bytes=len(found.made.weights),
        runtime_brotli=runtime_brotli(),
        place=found.place,
        samples=found.samples,
        real=data is not None,
        largest=found.largest,
        heap=found.heap,
    )


@dataclass(frozen=True)
class Trial:
    """On what a compiled model is tried.

    Attributes:
        feeds: Inputs; empty for seeded random ones.
        shapes: Of inputs by name; those of the feeds by default, and a batch of 1.
        random: How many random inputs.
        place: ``node`` or ``chromium``; Node where there is one, by default.
    """

    feeds: tuple[Feeds, ...] = ()
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    random: int = _RANDOM
    place: Place | None = None


@dataclass(frozen=True)
class Checked:
    """A compiled model that answered as native does.

    Attributes:
        made: The plan and its weights.
        place: Where it was run.
        samples: On so many inputs.
        largest: The largest difference of an output.
        heap: Bytes of WebAssembly memory.
        seconds: From the bytes in memory to the first answer.
    """

    made: Compiled
    place: Place
    samples: int
    largest: float
    heap: int
    seconds: float


def checked(
    path: Path, model: onnx.ModelProto, trial: Trial | None = None, progress: Progress = silent
) -> Checked:
    """Compile a loaded model, and check it against native ONNX Runtime.

    Args:
        path: The model's file, for errors.
        model: The model.
        trial: On what it is tried; random inputs by default.
        progress: Told how far the work is.

    Raises:
        LeanUnsupportedError: The lean runtime cannot do a node, which is named; the samples have
            unlike shapes.
        LeanMismatchError: It answers otherwise than native.
        InputError: A shape is wrong; there is neither Node nor a browser.
        OutputError: The lean runtime was not built.
    """
    on = trial or Trial()
    given = _of_one_shape(path, on.feeds, on.shapes)
    known = {name: v.shape for name, v in given[0].items()} if given else {}
    made = compile_model(model, shapes=known | dict(on.shapes), progress=progress)
    feeds = given or tuple(_random(made.plan, seed) for seed in range(on.random))
    progress("checking", 0, 1)
    answer = answers([Case(plan_text(made.plan), made.weights, feeds)], on.place)[0]
    largest = _compared(path, model, feeds, answer)
    progress("checking", 1, 1)
    return Checked(made, answer.place, len(feeds), largest, answer.heaps[1], answer.seconds)


def _of_one_shape(
    path: Path, feeds: tuple[Feeds, ...], shapes: Mapping[str, Sequence[int]]
) -> tuple[Feeds, ...]:
    """Return the samples of the stated shapes; unlike ones are refused."""
    if not feeds:
        return feeds
    stated = {name: tuple(shape) for name, shape in shapes.items() if name in feeds[0]}
    fitting = tuple(f for f in feeds if all(f[n].shape == shape for n, shape in stated.items()))
    if not fitting:
        name, there = next(
            (n, feed[n].shape) for feed in feeds for n in stated if feed[n].shape != stated[n]
        )
        raise LeanUnsupportedError(
            f"no sample of the {len(feeds)} that were tried has that shape.",
            where=f"--shape {printable(name)}",
            hint=f"One that is there: {'x'.join(map(str, there))}.",
        )
    for name in fitting[0]:
        there = min(feed[name].shape for feed in fitting)
        if any(feed[name].shape != there for feed in fitting):
            text = f"{printable(name)}={'x'.join(map(str, there))}"
            raise LeanUnsupportedError(
                "samples have unlike shapes, and a plan for the lean runtime is of one shape.",
                where=f"{path}, input {shown(name)}",
                hint=f"State it (--shape {text}), or use ONNX Runtime Web for this model.",
            )
    return fitting


def tried(
    path: Path, model: onnx.ModelProto, trial: Trial, progress: Progress = silent
) -> LeanTry | None:
    """Say what the lean runtime makes of a model; None where it cannot be run here.

    Args:
        path: The model's file, for what it refuses.
        model: The model.
        trial: On what it is tried.
        progress: Told how far the work is.
    """
    try:
        found = checked(path, model, trial, progress)
    except (LeanUnsupportedError, LeanMismatchError) as error:
        return LeanTry(refused=str(error))
    except (BrowserMissingError, BrowserError, OutputError):
        return None
    parts = (plan_text(found.made.plan).encode(), found.made.weights)
    wire = runtime_brotli() + sum(brotli_bytes(part) for part in parts)
    return LeanTry(
        samples=found.samples,
        largest=found.largest,
        seconds=found.seconds,
        heap=found.heap,
        wire=wire,
    )


def real_feeds(
    path: Path,
    model: onnx.ModelProto,
    data: str | Path,
    options: DataOptions | None,
    count: int,
) -> tuple[Feeds, ...]:
    """Return evenly spread samples of data that is not open yet, as :func:`spread_feeds` does.

    Raises:
        InputError: The data or an option is wrong.
    """
    place = Path(data) if is_there(Path(data)) else None
    chosen = read_options(path, place, options)
    dataset = open_data(data, tensor_infos(model), options=chosen).choice
    return spread_feeds(dataset, model, count)


def spread_feeds(dataset: Dataset, model: onnx.ModelProto, count: int) -> tuple[Feeds, ...]:
    """Return evenly spread samples, one in each batch; a fixed batch repeats it."""
    size, total = fixed_batch(model) or 1, len(dataset.samples)
    taken = min(count, total)
    return tuple(dataset.batch([i * total // taken] * size) for i in range(taken))


def _random(plan: Plan, seed: int) -> Feeds:
    """Return seeded inputs of a plan, whose shapes are all fixed."""
    return noise([TensorInfo(t.name, t.type, t.shape) for t in plan.inputs], seed=seed)


def _compared(path: Path, model: onnx.ModelProto, feeds: Sequence[Feeds], answer: Answer) -> float:
    """Return the largest difference from native.

    Raises:
        LeanMismatchError: An output differs by more than is allowed, or the runtime refused.
    """
    if answer.error:
        raise LeanMismatchError(
            f"the lean runtime refused its own plan: {answer.error}",
            where=str(path),
            hint="Use ONNX Runtime Web for this model, and report this.",
        )
    # Exact, as the plan is: fused kernels of native round activations.
    session = open_session(model, fold_weights=True)
    largest = 0.0
    for index, (fed, got) in enumerate(zip(feeds, answer.outputs, strict=True)):
        for name, wanted in run(session, fed).items():
            off, allowed = gap(wanted, got.get(name))
            if (mine := _form(got.get(name))) != (theirs := _form(wanted)):
                raise LeanMismatchError(
                    f"output {name!r} of input {index} is {mine}, native gives {theirs}.",
                    where=str(path),
                    hint="Use ONNX Runtime Web for this model, and report this.",
                )
            largest = max(largest, off)
            if not off <= allowed:
                raise LeanMismatchError(
                    f"output {name!r} of input {index} differs from native by {off:.2g}; "
                    f"{allowed:.2g} is allowed.",
                    where=str(path),
                    hint="Use ONNX Runtime Web for this model, and report this.",
                )
    return largest


def _form(value: object) -> str:
    """Return the type and shape of an output in words."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    return "missing" if value is None else type(value).__name__
