"""Clean a graph pass by pass; each one proves itself or is undone."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from sprat.data.noise import Noise
from sprat.errors import OptionError, SpratError, UnsupportedModelError
from sprat.graph.passes import PASSES, Pass, quiet, strip_metadata
from sprat.model.inspect import tensor_infos
from sprat.model.session import Feeds, Outputs, first_line, open_session, run
from sprat.progress import Progress, silent

#: Outputs may differ by this share of their largest absolute value: float rounding, no more.
_TOLERANCE = 1e-3
#: A pass may add this much when it removes nodes for it.
_SLACK_BYTES = 1024
#: Fewer bytes saved on the same graph are no change.
_SMALL = 256
#: Sizes tried for dynamic dimensions when there are no real samples.
_DYNAMIC_SIZES = (1, 8, 64, 224)


@dataclass(frozen=True)
class Step:
    """What one pass did.

    Attributes:
        name: Of the pass.
        kept: Whether its result was kept.
        nodes_before: Nodes before it.
        nodes_after: Nodes after it.
        bytes_before: Bytes of the model before it.
        bytes_after: Bytes after it.
        max_abs_difference: Largest difference of any output on the check's inputs.
        reason: Why it was undone; empty where it was kept.
    """

    name: str
    kept: bool
    nodes_before: int
    nodes_after: int
    bytes_before: int
    bytes_after: int
    max_abs_difference: float
    reason: str

    def __str__(self) -> str:
        what = "kept" if self.kept else "undone"
        return (
            f"{self.name}: {what}, {self.nodes_before} -> {self.nodes_after} nodes, "
            f"{self.bytes_before:,} -> {self.bytes_after:,} bytes"
            f"{', ' + self.reason if self.reason else ''}"
        )


@dataclass(frozen=True)
class Simplified:
    """A cleaned model, and what each pass that changed something did."""

    model: onnx.ModelProto
    steps: tuple[Step, ...]


def simplify(
    model: onnx.ModelProto,
    samples: Sequence[Feeds] | None = None,
    *,
    only: Sequence[str] | None = None,
    progress: Progress = silent,
) -> Simplified:
    """Clean a graph: fold, drop and merge what costs bytes or time for nothing.

    After each pass both models run on the same inputs; a pass that changes the outputs beyond
    float rounding, adds nodes or bytes, brings in operators outside ONNX's own domain, or gives
    a model that does not load, is undone.

    Args:
        model: The model; it is not changed.
        samples: Inputs for the check; seeded noise by default.
        only: Names of passes, run in the order of :data:`sprat.graph.passes.PASSES`.
        progress: Told how many passes are done.

    Returns:
        The cleaned model with the same inputs and outputs, and the steps.

    Raises:
        OptionError: There is no pass of that name.
        UnsupportedModelError: The given model itself cannot be run.
    """
    quiet()
    chosen = _chosen(only)
    feeds, outputs = _baseline(model, samples)
    current = model
    steps = []
    for i, step in enumerate(chosen):
        progress("cleaning the graph", i, len(chosen))
        found, after = _try(step, model, current, feeds, outputs)
        if found is not None:
            steps.append(found)
            current = after if found.kept else current
    progress("cleaning the graph", len(chosen), len(chosen))
    return Simplified(current, tuple(steps))


def _chosen(only: Sequence[str] | None) -> list[Pass]:
    unknown = [name for name in only or () if name not in PASSES]
    if unknown:
        raise OptionError(
            f"there is no pass {unknown[0]!r}.",
            where="--only",
            hint="See them with 'sprat simplify --list'.",
        )
    return [p for p in PASSES.values() if only is None or p.name in only]


def _baseline(
    model: onnx.ModelProto, samples: Sequence[Feeds] | None
) -> tuple[list[Feeds], list[Outputs]]:
    session = open_session(model)
    if samples:
        return list(samples), [run(session, feeds) for feeds in samples]
    inputs = tensor_infos(model)
    first = inputs[0].shape[0] if inputs and inputs[0].shape else 1
    count = first if isinstance(first, int) and first > 0 else 2
    failure: SpratError | None = None
    for dynamic in _DYNAMIC_SIZES:
        noise = Noise(inputs, tuple(range(count)), dynamic=dynamic)
        try:
            feeds = noise.batch(range(count))
            return [feeds], [run(session, feeds)]
        except SpratError as error:
            failure = error
    assert failure is not None
    raise failure


def _try(
    step: Pass,
    original: onnx.ModelProto,
    before: onnx.ModelProto,
    feeds: Sequence[Feeds],
    outputs: Sequence[Outputs],
) -> tuple[Step | None, onnx.ModelProto]:
    """Run one pass and judge it; None where it changed nothing."""
    nodes, size = len(before.graph.node), before.ByteSize()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            after = strip_metadata(step.run(before))
        if _same(before, after):
            return None, before
        difference = _difference(after, feeds, outputs)
    except SpratError as error:
        return _undone(step, nodes, size, f"the result does not run: {error.what}"), before
    except Exception as error:  # the libraries raise many unrelated classes
        return _undone(step, nodes, size, f"{step.library} failed: {first_line(error)}"), before
    reason = _worse(step, original, before, after, difference, outputs)
    found = Step(
        step.name,
        not reason,
        nodes,
        len(after.graph.node),
        size,
        after.ByteSize(),
        difference,
        reason,
    )
    return found, after


def _undone(step: Pass, nodes: int, size: int, reason: str) -> Step:
    return Step(step.name, False, nodes, nodes, size, size, float("inf"), reason)


def _same(before: onnx.ModelProto, after: onnx.ModelProto) -> bool:
    """Say whether only names changed: the same operators, weights and opset, and no fewer bytes."""
    return _shape_of(before) == _shape_of(after) and after.ByteSize() > before.ByteSize() - _SMALL


def _shape_of(model: onnx.ModelProto) -> tuple[object, ...]:
    return (
        [n.op_type for n in model.graph.node],
        sorted(math.prod(t.dims) for t in model.graph.initializer),
        max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0),
    )


def _difference(
    after: onnx.ModelProto, feeds: Sequence[Feeds], outputs: Sequence[Outputs]
) -> float:
    session = open_session(after)
    largest = 0.0
    for one, wanted in zip(feeds, outputs, strict=True):
        got = run(session, one)
        for name, values in wanted.items():
            if name not in got or got[name].shape != values.shape:
                raise UnsupportedModelError(f"output {name!r} is gone or has another shape.")
            gap = np.abs(got[name].astype(np.float64) - values.astype(np.float64))
            largest = max(largest, float(gap.max(initial=0.0)))
    return largest


def _worse(
    step: Pass,
    original: onnx.ModelProto,
    before: onnx.ModelProto,
    after: onnx.ModelProto,
    difference: float,
    outputs: Sequence[Outputs],
) -> str:
    """Return why a result is not kept, or nothing."""
    largest = max(
        (float(np.abs(v.astype(np.float64)).max(initial=0.0)) for o in outputs for v in o.values()),
        default=1.0,
    )
    if not difference <= _TOLERANCE * max(1.0, largest):
        return f"outputs differ by {difference:.2g}"
    if tensor_infos(after) != tensor_infos(original):
        return "the inputs changed"
    foreign = _domains(after) - _domains(original)
    if foreign:
        return f"brings in operators of {', '.join(sorted(foreign))}"
    return "" if step.needed else _larger(before, after)


def _larger(before: onnx.ModelProto, after: onnx.ModelProto) -> str:
    nodes = len(after.graph.node) - len(before.graph.node)
    if nodes > 0:
        return f"adds {nodes} nodes"
    grown = after.ByteSize() - before.ByteSize()
    if grown > (_SLACK_BYTES + before.ByteSize() // 100 if nodes < 0 else 0):
        return f"adds {grown:,} bytes"
    return ""


def _domains(model: onnx.ModelProto) -> set[str]:
    return set(Counter(n.domain for n in model.graph.node)) - {"ai.onnx", ""}
