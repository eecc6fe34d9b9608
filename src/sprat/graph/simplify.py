"""Clean a graph pass by pass; each one proves itself or is undone."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx

from sprat.errors import FaultyResultError, OptionError, SpratError
from sprat.graph.passes import PASSES, Pass, quiet
from sprat.graph.proof import Proof, prepare
from sprat.graph.transforms import strip_metadata, strip_notes
from sprat.limits import limited
from sprat.model.check import check
from sprat.model.nodes import all_nodes
from sprat.model.result import checker_refusal
from sprat.model.session import Feeds, first_line
from sprat.progress import Progress, silent

#: A pass may add this much when it removes nodes for it.
_SLACK_BYTES = 1024
#: What a model says about itself.
_METADATA = ("producer_name", "producer_version", "model_version", "domain", "doc_string")
#: Fewer bytes saved on the same graph are no change.
_SMALL = 256


@dataclass(frozen=True)
class Step:
    """What one pass did.

    Attributes:
        name: Of the pass.
        kept: Whether its result was kept.
        nodes_before: Nodes before it, those of subgraphs too.
        nodes_after: Nodes after it.
        bytes_before: Bytes of the model before it, without inferred shapes, which the last pass
            drops.
        bytes_after: Bytes after it, likewise.
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
    """A cleaned model, and what each pass that changed something did.

    Attributes:
        model: The model.
        steps: What each pass did.
        note: What was done to the model before the passes, in words.
    """

    model: onnx.ModelProto
    steps: tuple[Step, ...]
    note: str = ""


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
    a model that does not load, is undone. Names, types and shapes of inputs and outputs, and the
    model's metadata, stay as they are.

    Args:
        model: The model; it is not changed.
        samples: Inputs for the check; seeded noise by default.
        only: Names of passes, run in the order of :data:`sprat.graph.passes.PASSES`.
        progress: Told how many passes are done.

    Returns:
        The cleaned model, and a step for each pass that changed something or failed.

    Raises:
        OptionError: There is no pass of that name.
        UnsupportedModelError: The given model itself cannot be run.
        ShapeMismatchError: The samples do not fit, or the model does not run on noise.
        CostlyModelError: Cleaning takes more than :mod:`sprat.limits` allow.
    """
    with limited("cleaning the graph", model.graph.name, model.ByteSize()) as in_time:
        return _simplify(model, samples, _chosen(only), progress, in_time)


def _simplify(
    model: onnx.ModelProto,
    samples: Sequence[Feeds] | None,
    chosen: Sequence[Pass],
    progress: Progress,
    in_time: Callable[[], None],
) -> Simplified:
    quiet()
    proof = prepare(model, samples)
    current = model
    steps = []
    for i, step in enumerate(chosen):
        progress("cleaning the graph", i, len(chosen))
        found, after = _try(step, current, proof)
        in_time()
        if found is not None:
            steps.append(found)
            current = after if found.kept else current
    progress("cleaning the graph", len(chosen), len(chosen))
    shown = strip_metadata(current) if any(step.kept for step in steps) else current
    return Simplified(shown, tuple(steps))


def _chosen(only: Sequence[str] | None) -> list[Pass]:
    unknown = [name for name in only or () if name not in PASSES]
    if unknown:
        raise OptionError(
            f"there is no pass {unknown[0]!r}.",
            where="--only",
            hint="See them with 'sprat simplify --list'.",
        )
    return [p for p in PASSES.values() if only is None or p.name in only]


def _try(step: Pass, before: onnx.ModelProto, proof: Proof) -> tuple[Step | None, onnx.ModelProto]:
    """Run one pass and judge it; None where it changed nothing."""
    after, difference = before, 0.0
    size = _full_size if step.counts_shapes else _bare_size
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            changed = step.run(before)
        reason = _changed_face(before, changed)
        if not reason:
            after = _with_face(before, changed)
            if _same(before, after, size):
                return None, before
            check(after, step.name)
            _check_valid(before, after)
            difference, reason = proof.difference(after)
            reason = reason or _foreign(before, after)
            reason = reason or ("" if step.needed else _larger(before, after))
    except SpratError as error:
        known = "" if isinstance(error, FaultyResultError) else "the result does not run: "
        difference, reason = math.inf, f"{known}{error.what}"
    except Exception as error:  # the libraries raise many unrelated classes
        difference, reason = math.inf, f"{step.library} failed: {first_line(error)[:200]}"
    found = Step(
        step.name,
        not reason,
        _count_nodes(before),
        _count_nodes(after),
        size(before),
        size(after),
        difference,
        reason,
    )
    return found, after


def _check_valid(before: onnx.ModelProto, after: onnx.ModelProto) -> None:
    """Refuse a result that onnx's checker refuses where it did not before."""
    reason = checker_refusal(after.SerializeToString())
    if reason and not checker_refusal(before.SerializeToString()):
        raise FaultyResultError(f"onnx's checker refuses it: {reason}")


def _changed_face(before: onnx.ModelProto, after: onnx.ModelProto) -> str:
    """Say whether what callers see changed: names and types of inputs and outputs."""
    for word, old, new in (
        ("inputs", _inputs(before), _inputs(after)),
        ("outputs", list(before.graph.output), list(after.graph.output)),
    ):
        if [_key(v) for v in old] != [_key(v) for v in new]:
            return f"the {word} changed"
    return ""


def _with_face(before: onnx.ModelProto, after: onnx.ModelProto) -> onnx.ModelProto:
    """Give a result the shapes of inputs and outputs, and the metadata, that callers know."""
    out = strip_notes(after)
    known = {v.name: v for v in (*before.graph.input, *before.graph.output)}
    for value in (*out.graph.input, *out.graph.output):
        value.CopyFrom(known.get(value.name, value))
    out.graph.name = before.graph.name
    for field in _METADATA:
        out.ClearField(field)
        if before.HasField(field):
            setattr(out, field, getattr(before, field))
    del out.metadata_props[:]
    out.metadata_props.extend(before.metadata_props)
    return out


def _inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    weights = {t.name for t in model.graph.initializer}
    return [v for v in model.graph.input if v.name not in weights]


def _key(value: onnx.ValueInfoProto) -> tuple[str, int]:
    return value.name, value.type.tensor_type.elem_type


def _same(
    before: onnx.ModelProto, after: onnx.ModelProto, size: Callable[[onnx.ModelProto], int]
) -> bool:
    """Say whether only names or order changed: the same parts, and no fewer bytes."""
    return _parts(before) == _parts(after) and size(after) > size(before) - _SMALL


def _parts(model: onnx.ModelProto) -> tuple[object, ...]:
    return (
        Counter((n.domain, n.op_type) for n in all_nodes(model.graph)),
        Counter(tuple(t.dims) for t in model.graph.initializer),
        len(model.graph.input),
        len(model.functions),
        max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0),
    )


def _foreign(before: onnx.ModelProto, after: onnx.ModelProto) -> str:
    new = _outside_onnx(after) - _outside_onnx(before)
    return f"brings in {', '.join(sorted(new))}" if new else ""


def _outside_onnx(model: onnx.ModelProto) -> set[str]:
    """Return the operators outside ONNX's own domain, those that functions use too."""
    nodes = [*all_nodes(model.graph), *(n for f in model.functions for n in all_nodes(f))]
    return {f"{n.domain}:{n.op_type}" for n in nodes if n.domain not in ("", "ai.onnx")}


def _larger(before: onnx.ModelProto, after: onnx.ModelProto) -> str:
    nodes = _count_nodes(after) - _count_nodes(before)
    if nodes > 0:
        return f"adds {nodes} nodes"
    grown = _bare_size(after) - _bare_size(before)
    if grown > (_SLACK_BYTES + before.ByteSize() // 100 if nodes < 0 else 0):
        return f"adds {grown:,} bytes"
    return ""


def _full_size(model: onnx.ModelProto) -> int:
    return model.ByteSize()


def _bare_size(model: onnx.ModelProto) -> int:
    """Return a model's bytes without inferred shapes, which are dropped in the end."""
    graph = model.graph.ByteSize()
    bare = graph - sum(1 + _framed(v.ByteSize()) for v in model.graph.value_info)
    return model.ByteSize() - _framed(graph) + _framed(bare)


def _framed(size: int) -> int:
    """Return the bytes of a part of a protobuf message, with its length in front."""
    return size + max(1, (size.bit_length() + 6) // 7)


def _count_nodes(model: onnx.ModelProto) -> int:
    return sum(1 for _ in all_nodes(model.graph))
