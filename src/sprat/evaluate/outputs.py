"""Which outputs of a model can be measured, and how many samples a run may have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from sprat.data.dataset import Dataset
from sprat.errors import DataError, OptionError, SpratError
from sprat.evaluate.predict import BATCH, by_sample, mixing_operator, padded
from sprat.model.inspect import fixed_batch
from sprat.model.nodes import names_read
from sprat.model.session import Outputs, is_weight_only, open_session, run

#: Samples that are run alone and together.
_SAMPLES = 8
#: Between a sample alone and among others a value may differ by this share of the output's largest
#: absolute value (float sums in another order), and by this much where all are nearly zero.
_RELATIVE = 1e-3
_ABSOLUTE = 1e-6
#: Operators that keep each value of their first input.
_KEEPING = frozenset({"Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze"})
_ONE_BY_ONE = "samples are run one at a time, as a page sends them"


@dataclass(frozen=True)
class Measurable:
    """How a model is run, and what of its answers can be measured.

    Attributes:
        size: Samples in one run.
        names: Outputs with an answer for each sample, in the order of the model or of the wish.
        outputs: Those on a few samples, each run alone.
        notes: Why samples run alone, and which outputs are passed over, in words.
    """

    size: int
    names: tuple[str, ...]
    outputs: Outputs
    notes: tuple[str, ...]


def find_measurable(
    model: onnx.ModelProto, dataset: Dataset, wanted: Sequence[str] = ()
) -> Measurable:
    """Run a few samples alone and together, and find out what can be measured.

    Args:
        model: The model.
        dataset: The samples.
        wanted: Outputs that must be measured; by default all that can be.

    Returns:
        What can be measured.

    Raises:
        OptionError: There is no wanted output, or it is the same whatever the sample.
        DataError: A wanted output, or every output, has no axis of samples.
        ShapeMismatchError: The samples do not fit the inputs.
    """
    useless = _useless(model, twice=bool(wanted))
    _check_wanted(model, wanted, useless)
    alone = _Alone(model, dataset)
    refused = alone.refused | useless
    names = tuple(wanted) or tuple(name for name in alone.names if name not in refused)
    bad = [name for name in names if name in refused]
    if bad or not names:
        raise _none(bad, refused, [name for name in alone.names if name not in refused])
    size, why, lost = _run_size(model, alone, names, strict=bool(wanted))
    refused |= lost
    names = tuple(name for name in names if name not in lost)
    notes = (*((why,) if why else ()), *_passed_over(refused, wanted))
    return Measurable(size, names, {name: alone.outputs[name] for name in names}, notes)


def run_size(model: onnx.ModelProto, dataset: Dataset, names: Sequence[str]) -> tuple[int, str]:
    """Return how many samples a run of a model may have, and why only one where that is so.

    Args:
        model: The model.
        dataset: The samples.
        names: Outputs that are measured.

    Raises:
        DataError: The model lacks one of them, or it has no axis of samples.
    """
    fixed = fixed_batch(model)
    if fixed is not None:
        return fixed, ""
    alone = _Alone(model, dataset)
    missing = [name for name in names if name not in alone.names]
    if missing:
        raise DataError(
            f"output {missing[0]!r} of the original has no counterpart in the model, which has "
            f"{', '.join(alone.names)}."
        )
    bad = [name for name in names if name not in alone.outputs]
    if bad:
        raise _none(bad, alone.refused, list(alone.outputs))
    size, why, _ = _run_size(model, alone, names, strict=True)
    return size, why


class _Alone:
    """A model's outputs on a few evenly spread samples, each in a run of its own."""

    def __init__(self, model: onnx.ModelProto, dataset: Dataset) -> None:
        self.dataset = dataset
        total = len(dataset.samples)
        taken = min(_SAMPLES, total)
        self.chosen = [i * total // taken for i in range(taken)]
        self.session: ort.InferenceSession = open_session(model, fold_weights=is_weight_only(model))
        self.names = [output.name for output in model.graph.output]
        self.outputs: Outputs = {}
        self.refused: dict[str, str] = {}
        size = fixed_batch(model) or 1
        runs = [run(self.session, padded(dataset.batch([i]), size)) for i in self.chosen]
        for name in self.names:
            try:
                rows = [by_sample(name, got[name], size)[:1] for got in runs]
                self.outputs[name] = _stacked(name, rows)
            except DataError as error:
                self.refused[name] = error.what

    def together(self, names: Sequence[str]) -> Outputs:
        """Return outputs of the same samples in one run, filled up to a usual batch."""
        feeds = padded(self.dataset.batch(self.chosen), BATCH)
        return run(self.session, feeds, names)


def _stacked(name: str, rows: list[NDArray[Any]]) -> NDArray[Any]:
    shapes = sorted({row.shape[1:] for row in rows})
    if len(shapes) > 1:
        raise DataError(
            f"output {name!r} has another shape for each sample, such as "
            f"{' and '.join(str(list(shape)) for shape in shapes[:2])}."
        )
    return np.concatenate(rows)


def _run_size(
    model: onnx.ModelProto, alone: _Alone, names: Sequence[str], *, strict: bool
) -> tuple[int, str, dict[str, str]]:
    """Return samples in a run, why only one, and outputs that have no axis of samples in it.

    Args:
        model: The model.
        alone: Some samples alone.
        names: The outputs to look at, the primary one first.
        strict: All of them must be measured; otherwise those beside the first may be lost.
    """
    fixed = fixed_batch(model)
    if fixed is not None or len(alone.chosen) < 2:
        return fixed or 1, "", {}
    why = _known_to_differ(model, alone.dataset)
    lost: dict[str, str] = {}
    if not why:
        why, lost = _seen_to_differ(alone, names, strict=strict)
    return (1, f"{why}: {_ONE_BY_ONE}", {}) if why else (BATCH, "", lost)


def _known_to_differ(model: onnx.ModelProto, dataset: Dataset) -> str:
    """Say without a run why samples cannot share one; empty where nothing is known."""
    if dataset.is_ragged:
        return "samples have unlike shapes"
    operator = mixing_operator(model)
    return f"one {operator} decides for all samples of a run" if operator else ""


def _seen_to_differ(
    alone: _Alone, names: Sequence[str], *, strict: bool
) -> tuple[str, dict[str, str]]:
    """Say why samples cannot share a run; empty where they can. As :func:`_run_size`."""
    try:
        together = alone.together(names)
    except SpratError:
        return "the model fails on several samples in one run", {}
    lost: dict[str, str] = {}
    for name in names:
        try:
            rows = by_sample(name, together[name], BATCH)[: len(alone.chosen)]
        except DataError as error:
            if strict or name == names[0]:
                return f"output {name!r} has not one row for each sample of a run", {}
            lost[name] = error.what
            continue
        other = _differing(alone.outputs[name], rows)
        if other is not None:
            sample = alone.dataset.samples[alone.chosen[other]].name
            return f"the model answers sample {sample} differently beside others", {}
    return "", lost


def _differing(alone: NDArray[Any], together: NDArray[Any]) -> int | None:
    """Return the first sample whose answer depends on its neighbours; None without."""
    if alone.shape != together.shape:
        return 0
    a, b = alone.astype(np.float64), together.astype(np.float64)
    finite = np.abs(a[np.isfinite(a)]).max(initial=0.0)
    allowed = 0.0 if alone.dtype.kind != "f" else _RELATIVE * finite + _ABSOLUTE
    with np.errstate(invalid="ignore"):  # infinities have no difference
        same = (a == b) | (np.isnan(a) & np.isnan(b)) | (np.abs(a - b) <= allowed)
    rows = np.flatnonzero(~same.reshape(len(same), -1).all(axis=1))
    return int(rows[0]) if len(rows) else None


def _useless(model: onnx.ModelProto, *, twice: bool) -> dict[str, str]:
    """Return outputs that say nothing of a model's work, with the reason.

    Args:
        model: The model.
        twice: An output may be the same as another one: the user has chosen.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name for value in model.graph.input} - weights
    makers = {name: node for node in model.graph.node for name in node.output}
    living = _reached(model, inputs)
    found: dict[str, str] = {}
    seen: dict[str, str] = {}
    for output in model.graph.output:
        name = origin = output.name
        while origin in makers and makers[origin].op_type in _KEEPING:
            origin = makers[origin].input[0]
        if name not in living:
            found[name] = f"output {name!r} is the same whatever the sample"
        elif origin in inputs:
            found[name] = f"output {name!r} is a copy of the input"
        elif _identity(makers, name) in seen and not twice:
            found[name] = f"output {name!r} is the same as {seen[_identity(makers, name)]!r}"
        seen.setdefault(_identity(makers, name), name)
    return found


def _identity(makers: dict[str, onnx.NodeProto], name: str) -> str:
    while name in makers and makers[name].op_type == "Identity":
        name = makers[name].input[0]
    return name


def _reached(model: onnx.ModelProto, inputs: set[str]) -> set[str]:
    """Return the values that depend on an input, or on chance."""
    reached = set(inputs)
    for node in model.graph.node:
        if node.op_type.startswith("Random") or not reached.isdisjoint(names_read(node)):
            reached.update(node.output)
    return reached


def _check_wanted(model: onnx.ModelProto, wanted: Sequence[str], useless: dict[str, str]) -> None:
    known = [output.name for output in model.graph.output]
    for name in wanted:
        if name not in known:
            raise OptionError(
                f"there is no output {name!r}; the model has {', '.join(known)}.",
                where="--output",
            )
    for name in wanted:
        if name in useless:
            others = [one for one in known if one not in useless]
            raise OptionError(
                f"{useless[name]}: it decides nothing.", where="--output", hint=_can(others)
            )


def _none(bad: Sequence[str], refused: dict[str, str], usable: Sequence[str]) -> DataError:
    """Return the error that says which outputs can decide, where these cannot."""
    shown = bad or list(refused)
    reasons = " ".join(_sentence(refused[name]) for name in shown if name in refused)
    if usable:
        return DataError(f"{reasons} It cannot decide.", hint=_can(usable))
    return DataError(
        reasons or "the model has no output.",
        hint="Export the model with tensors of scores as its outputs, one row for each sample: "
        "those before a NonMaxSuppression, for example.",
    )


def _can(names: Sequence[str]) -> str:
    if not names:
        return "No other output can decide."
    return f"Outputs that can decide: {', '.join(names)} (--output)."


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _passed_over(refused: dict[str, str], wanted: Sequence[str]) -> tuple[str, ...]:
    if wanted or not refused:
        return ()
    shown = [text.rstrip(".") for text in refused.values()]
    more = f", and {len(shown) - 3} more" if len(shown) > 3 else ""
    return (f"not measured: {'; '.join(shown[:3])}{more}",)
