"""Make candidates and measure each against the original on the choice split."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx
from onnx import numpy_helper

from sprat.errors import NoGainError, SpratError
from sprat.evaluate.evaluate import Reference
from sprat.evaluate.speed import measure_speed
from sprat.evaluate.types import Evaluation, Speed
from sprat.files import sha256
from sprat.model.session import Feeds
from sprat.model.wire import WireBytes, wire_bytes
from sprat.progress import Watch, silent
from sprat.quantization.configs import (
    Config,
    Dynamic,
    Float16,
    Layerwise,
    Static,
    Weights,
    describe,
)
from sprat.quantization.ort import calibrate
from sprat.quantization.quantize import quantize
from sprat.record.schema import CandidateRecord, Outcome, Source
from sprat.search.budget import holds
from sprat.search.store import Store

#: Name and method of a model that is not quantized.
FLOAT = "float32"
#: What is proposed for every model, by name.
PROPOSALS: dict[str, Layerwise] = {
    "float16": Float16(),
    "weights-int8": Weights(),
    "dynamic": Dynamic(),
    "static-minmax": Static("minmax"),
    "static-entropy": Static("entropy"),
    "static-percentile": Static("percentile"),
}


@dataclass(frozen=True)
class Trial:
    """A candidate's record and, unless it failed, its model."""

    record: CandidateRecord
    model: onnx.ModelProto | None


@dataclass(frozen=True)
class Bench:
    """All that is needed to make and measure candidates.

    Attributes:
        original: The model that the page has today, the reference of every ratio.
        start: What is made small: the original, or a student in its place.
        clean: The same, simplified: what quantization starts from.
        samples: Calibration batches of one.
        reference: The original's answers on the choice split.
        store: Keeps what was made and measured.
        max_drop: The budget in points.
        progress: Told how far the work is; ends it where time is up.
        source: What is made small, in the record's word.
        own: What a student scores before any quantization; None where the original is made small.
    """

    original: onnx.ModelProto
    start: onnx.ModelProto
    clean: onnx.ModelProto
    samples: Sequence[Feeds]
    reference: Reference
    store: Store
    max_drop: float
    progress: Watch = field(default_factory=lambda: Watch(silent))
    source: Source = "original"
    own: Evaluation | None = None

    def named(self, name: str) -> str:
        """Return a candidate's name in the run: a student's candidates say whose they are."""
        return name if self.source == "original" else f"{self.source}-{name}"

    def as_it_is(self, note: str = "") -> Trial:
        """Measure what is made small before any quantization: a student competes as it is, too."""
        return self.measure(FLOAT, FLOAT, {}, lambda: self.start, note=note)

    def propose(self, name: str, config: Config, note: str = "") -> Trial:
        """Make and measure one candidate of :data:`PROPOSALS` or a repaired one."""
        return self.measure(
            name,
            type(config).__name__.lower(),
            describe(config),
            lambda: quantize(self.clean, config, self.samples, ranges=self.ranges(config)),
            note=note,
        )

    def measure(
        self,
        name: str,
        method: str,
        options: dict[str, Any],
        make: Callable[[], onnx.ModelProto],
        *,
        note: str = "",
        exact: bool = False,
    ) -> Trial:
        """Make a model, or take it from the store, and measure it.

        Args:
            name: Short and unique among those of one source.
            method: The strategy's name.
            options: Its options; with the store's basis they decide the bytes.
            make: Makes the model.
            note: Goes into the record.
            exact: Compress a large file whole instead of estimating its bytes on the wire.

        Returns:
            The trial; an error of ours becomes the outcome ``failed`` with the reason.
        """
        start = time.perf_counter()
        name = self.named(name)
        self.progress(f"trying {name}", 0, 1)
        try:
            parts = {"method": method, "options": options}
            content = self.store.content(
                {"model": parts}, lambda: make().SerializeToString(deterministic=True)
            )
            model = onnx.load_from_string(content)
            record = self._record(name, method, options, model, content, exact)
            trial = Trial(record.model_copy(update={"note": note}), model)
        except NoGainError as error:
            trial = self._failed(name, method, options, "not better", error)
        except SpratError as error:
            trial = self._failed(name, method, options, "failed", error)
        seconds = round(time.perf_counter() - start, 3)
        self.progress(f"trying {name}", 1, 1)
        return Trial(trial.record.model_copy(update={"seconds": seconds}), trial.model)

    def evaluation(self, content: bytes, model: onnx.ModelProto) -> Evaluation:
        """Evaluate on the choice split, once for the same bytes."""
        parts = {"evaluation": sha256(content), "split": self.reference.dataset.digest}
        return self.store.value(
            parts, Evaluation, lambda: self.reference.evaluate(model, self.progress)
        )

    def wire(self, content: bytes, *, exact: bool) -> WireBytes:
        """Measure bytes on the wire, once for the same bytes."""
        parts = {"wire": sha256(content), "exact": exact}
        return self.store.value(parts, WireBytes, lambda: wire_bytes(content, exact=exact))

    def exactly(self, trial: Trial) -> Trial:
        """Return the trial with its bytes measured rather than estimated."""
        wire = trial.record.wire
        if trial.model is None or wire is None or not wire.estimated:
            return trial
        self.progress(f"compressing {trial.record.name}", 0, 1)
        found = self.wire(trial.model.SerializeToString(deterministic=True), exact=True)
        self.progress(f"compressing {trial.record.name}", 1, 1)
        bits = 8 * found.brotli / max(1, count_weights(self.clean))
        update = {"wire": found, "bits_per_weight": bits}
        return Trial(trial.record.model_copy(update=update), trial.model)

    def _record(
        self,
        name: str,
        method: str,
        options: dict[str, Any],
        model: onnx.ModelProto,
        content: bytes,
        exact: bool,
    ) -> CandidateRecord:
        digest = sha256(content)
        evaluation = self.evaluation(content, model)
        wire = self.wire(content, exact=exact)
        speed = self.store.value(
            {"speed": digest},
            Speed,
            lambda: measure_speed(self.original, model, self.samples[0]),
        )
        return CandidateRecord(
            name=name,
            method=method,
            options=options,
            source=self.source,
            outcome="within budget" if holds(evaluation, self.max_drop) else "over budget",
            sha256=digest,
            wire=wire,
            bits_per_weight=8 * wire.brotli / max(1, count_weights(self.clean)),
            evaluation=evaluation,
            speed=speed,
        )

    def _failed(
        self, name: str, method: str, options: dict[str, Any], outcome: Outcome, error: SpratError
    ) -> Trial:
        record = CandidateRecord(
            name=name,
            method=method,
            options=options,
            source=self.source,
            outcome=outcome,
            note=str(error),
        )
        return Trial(record, None)

    def ranges(self, config: Config) -> bytes | None:
        """Return the activation ranges that a strategy needs, calibrated once a method."""
        if not isinstance(config, Static):
            return None
        return self.store.content(
            {"ranges": config.calibration},
            lambda: calibrate(self.clean, self.samples, config.calibration, self.progress),
        )


def count_weights(model: onnx.ModelProto) -> int:
    """Return how many numbers the float initializers hold."""
    floats = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE}
    return sum(
        int(numpy_helper.to_array(t).size) for t in model.graph.initializer if t.data_type in floats
    )


def proposals(model: onnx.ModelProto) -> Iterator[tuple[str, Layerwise]]:
    """Yield the proposals that can do something for a model, cheapest first."""
    kinds = {node.op_type for node in model.graph.node}
    integer = kinds & {"Conv", "MatMul", "Gemm", "LSTM", "GRU", "Gather", "ConvTranspose"}
    for name, config in PROPOSALS.items():
        if integer or isinstance(config, Float16):
            yield name, config
