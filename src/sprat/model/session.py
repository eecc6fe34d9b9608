"""ONNX Runtime sessions that give the same bits on any number of cores."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from sprat.errors import (
    EndlessModelError,
    ShapeMismatchError,
    SpratError,
    UnsupportedModelError,
)
from sprat.limits import SECONDS, limited, too_slow
from sprat.parallel import ordered_map

#: One batch: input name to array, samples along axis 0.
Feeds = dict[str, NDArray[np.generic]]
#: Output name to array, samples along axis 0.
Outputs = dict[str, NDArray[np.generic]]

_QUIET = 4
#: Types whose name in ONNX Runtime is not numpy's.
_NAMES = {"float32": "float", "float64": "double", "object": "string"}
#: Seconds of one run: a stranger's loop may have no end.
LONGEST_RUN = 300.0
#: Seconds between two looks at the time that a run has taken.
_TICK = 1.0


def samples_in(feeds: Feeds) -> int:
    """Return how many samples a batch has: the longest first axis; scalars have none."""
    return max((values.shape[0] for values in feeds.values() if values.ndim), default=1)


def is_weight_only(model: onnx.ModelProto | Path) -> bool:
    """Say whether a model holds quantized weights, and quantizes nothing while it runs.

    What such a model means does not depend on how a runtime fuses it. ONNX Runtime fuses
    DequantizeLinear and MatMul, and rounds activations where it does: its answers are those of the
    model with ``fold_weights``.

    Args:
        model: A model; of a path nothing is known.
    """
    if isinstance(model, Path):
        return False
    kinds = {node.op_type for node in model.graph.node}
    return "DequantizeLinear" in kinds and "QuantizeLinear" not in kinds


def open_session(
    model: onnx.ModelProto | Path, *, threads: int = 1, fold_weights: bool = False
) -> ort.InferenceSession:
    """Open a model on the CPU.

    Args:
        model: A model, or the path of one (needed where it has external data).
        threads: Threads inside one run. Keep 1 where bits must not depend on the machine, and
            run batches side by side instead (:func:`predict` does).
        fold_weights: Expand quantized weights once at load instead of at each run (ONNX
            Runtime's ``session.disable_quant_qdq``): same answers, float speed.

    Returns:
        A session; its ``run`` may be called from several threads.

    Raises:
        UnsupportedModelError: The runtime refuses the model.
        CostlyModelError: Opening takes more than :mod:`sprat.limits` allow.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _QUIET
    if fold_weights:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    where = str(model) if isinstance(model, Path) else model.graph.name
    size = model.stat().st_size if isinstance(model, Path) else model.ByteSize()
    try:
        with _limited_opening(options, where, size):
            source = str(model) if isinstance(model, Path) else model.SerializeToString()
            return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except SpratError:
        raise
    except Exception as error:  # ONNX Runtime and protobuf raise many unrelated classes
        raise UnsupportedModelError(
            f"ONNX Runtime {ort.__version__} cannot load this model: {first_line(error)}",
            where=where,
            hint="Check the operators and the opset with 'sprat inspect'.",
        ) from error


def run(
    session: ort.InferenceSession, feeds: Feeds, outputs: Sequence[str] | None = None
) -> Outputs:
    """Run one batch.

    Args:
        session: From :func:`open_session`.
        feeds: One array per input.
        outputs: Names of the outputs wanted; all by default.

    Returns:
        One array per output.

    Raises:
        ShapeMismatchError: The arrays do not fit the inputs.
        UnsupportedModelError: The runtime cannot run the model.
        EndlessModelError: It does not end within :data:`LONGEST_RUN` seconds.
    """
    names = list(outputs) if outputs is not None else [o.name for o in session.get_outputs()]
    if not names:
        return {}  # ONNX Runtime takes no names for all names
    options = ort.RunOptions()
    try:
        with _limited(options):
            values = session.run(names, feeds, options)
    except Exception as error:  # see open_session
        message = first_line(error)
        shapes = ", ".join(f"{k} {v.dtype}{list(v.shape)}" for k, v in feeds.items())
        wanted = ", ".join(f"{i.name} {i.type} {i.shape}" for i in session.get_inputs())
        refused = "INVALID_ARGUMENT" in message or isinstance(error, ValueError)
        # A node inside may refuse what the inputs let pass: that is no mismatch of the samples.
        if refused and not _fits(session, feeds):
            raise ShapeMismatchError(
                f"the samples give {shapes}, the model wants {wanted}.",
                hint="Set the preprocessing: --size, --layout, --channels, or sprat.toml.",
            ) from error
        if options.terminate:
            raise EndlessModelError(
                f"one run on {shapes} takes more than {LONGEST_RUN:g} s."
            ) from error
        raise UnsupportedModelError(
            f"ONNX Runtime {ort.__version__} cannot run this model on {shapes}: {message}"
        ) from error
    return dict(zip(names, values, strict=True))


def _fits(session: ort.InferenceSession, feeds: Feeds) -> bool:
    """Say whether arrays have the names, types and shapes that a session's inputs state."""
    wanted = session.get_inputs()
    return {i.name for i in wanted} == set(feeds) and all(_takes(i, feeds[i.name]) for i in wanted)


def _takes(wanted: ort.NodeArg, values: NDArray[np.generic]) -> bool:
    name = str(values.dtype)
    return (
        wanted.type == f"tensor({_NAMES.get(name, name)})"
        and len(wanted.shape) == values.ndim
        and all(
            not isinstance(size, int) or size == got
            for size, got in zip(wanted.shape, values.shape, strict=True)
        )
    )


@contextmanager
def _limited(options: ort.RunOptions) -> Iterator[None]:
    """End the run that has these options after :data:`LONGEST_RUN` seconds."""
    with _after(LONGEST_RUN, lambda: setattr(options, "terminate", True)):
        yield


@contextmanager
def _limited_opening(options: ort.SessionOptions, where: str, size: int) -> Iterator[None]:
    """End the opening of a session when its time is over; ONNX Runtime looks between its steps."""
    seconds, late = SECONDS.of(size), Event()

    def cancel() -> None:
        late.set()
        options.set_load_cancellation_flag(True)

    with limited("opening the model", where, size), _after(seconds, cancel):
        try:
            yield
        except Exception as error:
            if late.is_set():
                raise too_slow("opening the model", where, seconds) from error
            raise


@contextmanager
def _after(seconds: float, act: Callable[[], None]) -> Iterator[None]:
    """Do something if this takes longer than so many seconds."""
    over = Event()
    Thread(target=_watch, args=(act, over, seconds), daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _watch(act: Callable[[], None], over: Event, left: float) -> None:
    """Count in ticks: a process that was stopped (Ctrl-Z) did not run meanwhile."""
    while left > 0:
        start = time.monotonic()
        if over.wait(min(left, _TICK)):
            return
        left -= min(time.monotonic() - start, 2 * _TICK)
    act()


def predict(
    session: ort.InferenceSession, batches: Iterable[Feeds], outputs: Sequence[str] | None = None
) -> Iterator[Outputs]:
    """Run many batches side by side on all cores, in order.

    Args:
        session: From :func:`open_session` with one thread.
        batches: The batches.
        outputs: Names of the outputs wanted; all by default.

    Yields:
        The outputs of each batch, in the order of ``batches``.
    """
    yield from ordered_map(lambda feeds: run(session, feeds, outputs), batches)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text that says something; its class's name if none."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
