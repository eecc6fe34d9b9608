"""Make candidates and measure each against the original on the choice split."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from sprat.errors import NoGainError, SpratError
from sprat.evaluate.evaluate import Reference
from sprat.evaluate.reading import Answers
from sprat.evaluate.speed import measure_speed
from sprat.evaluate.types import Evaluation, Speed
from sprat.files import sha256
from sprat.model.result import result_bytes
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
from sprat.spread import ALONE, Ahead, Spread, Task

#: Name and method of a model that is not quantized.
FLOAT = "float32"
#: What is proposed for every model, by name.
PROPOSALS: dict[str, Layerwise] = {
    "weights-int8": Weights(),
    "float16": Float16(),
    "dynamic": Dynamic(),
    "static-minmax": Static("minmax"),
    "static-entropy": Static("entropy"),
    "static-percentile": Static("percentile"),
}
#: Those that are made at once and seldom fail, the smaller first.
SURE = ("weights-int8", "float16")


@dataclass(frozen=True)
class Trial:
    """A candidate's record and, unless it failed, its model."""

    record: CandidateRecord
    model: onnx.ModelProto | None


@dataclass(frozen=True, eq=False)
class Weighing(Task[bool, WireBytes]):
    """Measures what a file costs on the wire, exactly or estimated.

    Attributes:
        content: The file.
    """

    content: bytes

    def __call__(self, exact: bool) -> Iterator[WireBytes]:
        """Yield the bytes."""
        yield wire_bytes(self.content, exact=exact)


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
        seed: Of every choice that needs one.
        spread: Who takes part.
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
    seed: int = 0

    def named(self, name: str) -> str:
        """Return a candidate's name in the run: a student's candidates say whose they are."""
        return name if self.source == "original" else f"{self.source}-{name}"

    def as_it_is(self, note: str = "") -> Trial:
        """Measure what is made small before any quantization: a student competes as it is, too."""
        return self.measure(FLOAT, FLOAT, {}, lambda: self.start, note=note)

    spread: Spread = ALONE

    def alone(self) -> Bench:
        """Return what makes, weighs and times a candidate: without listeners, helpers and answers.

        A user's metric may be found in this process alone, and the answers may be large.
        """
        none = np.empty(0)
        bare = replace(
            self.reference,
            outputs={},
            answers=Answers(none, none, none > 0),
            scores=none,
            metric=None,
        )
        return replace(self, reference=bare, progress=Watch(silent), spread=ALONE)

    def propose(self, name: str, config: Config, note: str = "") -> Trial:
        """Make and measure one candidate of :data:`PROPOSALS` or a repaired one."""
        return self.measure(
            name,
            _method(config),
            describe(config),
            lambda: self._made(config),
            note=note,
        )

    def untried(self, name: str, config: Config) -> Trial:
        """Return what stands for a candidate for which there was no time."""
        record = CandidateRecord(
            name=self.named(name),
            method=_method(config),
            options=describe(config),
            source=self.source,
            outcome="not tried",
            note="no time was left",
        )
        return Trial(record, None)

    def begin(self, config: Config) -> None:
        """Do for a proposal all but the look at the choice split, which many may share.

        An error of ours is left for :meth:`propose`, which meets it, too.
        """
        parts = _parts(_method(config), describe(config))
        with suppress(SpratError):
            content = self.store.content(
                parts, lambda: self._made(config).SerializeToString(deterministic=True)
            )
            self.wire(content, exact=False)
            self.speed(content, onnx.load_from_string(content))

    def _made(self, config: Config) -> onnx.ModelProto:
        return quantize(self.clean, config, self.samples, ranges=self.ranges(config))

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
            content = self.store.content(
                _parts(method, options), lambda: result_bytes(make(), self.start, made_by=name)
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
            parts,
            Evaluation,
            lambda: self.reference.evaluate(model, self.progress, self.spread),
        )

    def wire(self, content: bytes, *, exact: bool) -> WireBytes:
        """Measure bytes on the wire, once for the same bytes."""
        return self._weighing(content, exact)()

    def _weighing(self, content: bytes, exact: bool) -> Callable[[], WireBytes]:
        """Let others begin to measure bytes on the wire; return what gives them in the end."""
        parts = {"wire": sha256(content), "exact": exact}
        begun: Ahead[bool, WireBytes] = Ahead()
        if not self.store.has(parts, "json"):
            begun = self.spread.ahead(Weighing(content), [exact], urgent=True)

        def weigh() -> WireBytes:
            found = begun.take(exact)
            return found[0] if found else wire_bytes(content, exact=exact)

        return lambda: self.store.value(parts, WireBytes, weigh)

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
        weighing = self._weighing(content, exact)
        evaluation = self.evaluation(content, model)
        wire = weighing()
        return CandidateRecord(
            name=name,
            method=method,
            options=options,
            source=self.source,
            outcome="within budget" if holds(evaluation, self.max_drop) else "over budget",
            sha256=sha256(content),
            wire=wire,
            bits_per_weight=8 * wire.brotli / max(1, count_weights(self.clean)),
            evaluation=evaluation,
            speed=self.speed(content, model),
        )

    def speed(self, content: bytes, model: onnx.ModelProto) -> Speed:
        """Time a model, once for the same bytes."""
        return self.store.value(
            {"speed": sha256(content)},
            Speed,
            lambda: measure_speed(self.original, model, self.samples[0]),
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


@dataclass(frozen=True, eq=False)
class Proposing(Task[str, tuple[str, bytes]]):
    """Makes, weighs and times a candidate of :data:`PROPOSALS`; yields the entries of the store.

    Attributes:
        bench: From :meth:`Bench.alone`.
    """

    bench: Bench

    def __call__(self, name: str) -> Iterator[tuple[str, bytes]]:
        """Yield the name and content of each entry."""
        with TemporaryDirectory(prefix="sprat-") as folder:
            bench = replace(self.bench, store=self.bench.store.within(Path(folder)))
            bench.begin(PROPOSALS[name])
            yield from bench.store.entries()


def begin(bench: Bench) -> Ahead[str, tuple[str, bytes]]:
    """Let others begin the proposals that are not in the store yet.

    Args:
        bench: Makes and measures.

    Returns:
        What they make: entries of the store by the proposal's name.
    """
    names = [
        name
        for name, config in proposals(bench.clean)
        if not bench.store.has(_parts(_method(config), describe(config)), "bin")
    ]
    return bench.spread.ahead(Proposing(bench.alone()), names)


def _method(config: Config) -> str:
    return type(config).__name__.lower()


def _parts(method: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return what names a candidate's bytes in the store."""
    return {"model": {"method": method, "options": options}}


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
