"""Repair a candidate that misses the budget: give precision back where it costs most."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import onnx

from sprat.data.dataset import Dataset
from sprat.errors import SpratError
from sprat.evaluate.evaluate import Reference, reference_on
from sprat.model.session import Feeds
from sprat.quantization.configs import Float16, Layerwise, Weights
from sprat.quantization.quantize import quantize
from sprat.quantization.weights import weight_axes
from sprat.search.candidates import Bench, Trial
from sprat.spread import Task

_SAMPLES = 64
_MAX_LAYERS = 64
#: Stands for the cost of a layer that cannot be quantized alone; JSON has no NaN.
_APART = -1.0
_HEAVY = {"Conv", "ConvTranspose", "MatMul", "Gemm", "LSTM", "GRU", "Gather"}


def repair(
    bench: Bench, name: str, config: Layerwise, stop: Callable[[], bool] = lambda: False
) -> list[Trial]:
    """Find which layers cost most, one at a time, and give them back precision until it holds.

    Each layer is quantized alone and its divergence from the original measured on some samples
    of the choice split. The layers that cost most then stay float: 1, 2, 4 … of them until the
    budget holds, then as few as bisection finds.

    Args:
        bench: Makes and measures.
        name: The candidate's name; repaired ones are called ``name+k``.
        config: Its strategy.
        stop: Says whether time is up.

    Returns:
        The repaired candidates that were tried, in order.
    """
    trials: dict[int, Trial] = {}
    with bench.progress.until(stop):
        _bisect(bench, name, config, trials)
    return list(trials.values())


def _bisect(bench: Bench, name: str, config: Layerwise, trials: dict[int, Trial]) -> None:
    order = [layer for layer, _ in sensitivities(bench, config)]

    def attempt(k: int) -> bool:
        kept = tuple(sorted({*config.exclude, *order[:k]}))
        note = f"kept in float: {', '.join(order[:k])}"
        trials[k] = bench.propose(f"{name}+{k}", replace(config, exclude=kept), note)
        return trials[k].record.outcome == "within budget"

    low, high = 0, 1
    while high < len(order) and not attempt(high):
        low, high = high, high * 2
    while high - low > 1 and high in trials:
        middle = (low + high) // 2
        if attempt(middle):
            high = middle
        else:
            low = middle


def sensitivities(bench: Bench, config: Layerwise) -> Sequence[tuple[str, float]]:
    """Measure what quantizing each layer alone costs at the model's output.

    Args:
        bench: Makes and measures.
        config: The strategy.

    Returns:
        Layer names with the mean divergence that each costs, largest first. Layers that the
        strategy cannot quantize alone are left out.
    """
    layers = _layers(bench, config)
    sample = bench.reference.dataset
    subset: Dataset = sample.subset(range(0, len(sample.samples), _stride(len(sample.samples))))
    small = reference_on(
        bench.start, subset, "val", bench.reference.reading, size=bench.reference.size
    )
    task = Costing(bench.clean, bench.samples, small, config, tuple(layers), bench.ranges(config))
    keys = {
        layer: {"sensitivity": repr(task.alone(layer)), "split": small.dataset.digest}
        for layer in layers
    }
    unknown = [layer for layer in layers if not bench.store.has(keys[layer], "json")]
    found = bench.spread.flat(task, unknown)
    waiting = set(unknown)
    costs: list[tuple[str, float]] = []
    for i, layer in enumerate(layers):
        # What is kept may be unreadable: then it is made here, so that the others stay in step.
        source = found if layer in waiting else iter(task(layer))
        cost = bench.store.value(keys[layer], float, lambda source=source: next(source))  # type: ignore[misc]
        if cost >= 0:
            costs.append((layer, cost))
        bench.progress("finding the layers that cost most", i + 1, len(layers))
    return sorted(costs, key=lambda pair: (-pair[1], pair[0]))


@dataclass(frozen=True, eq=False)
class Costing(Task[str, float]):
    """Quantizes a layer alone; yields the divergence that it costs.

    Attributes:
        clean: What quantization starts from.
        samples: Calibration batches.
        reference: The original's answers on some samples.
        config: The strategy.
        layers: All of them.
        ranges: Activation ranges, where the strategy needs them.
    """

    clean: onnx.ModelProto
    samples: Sequence[Feeds]
    reference: Reference
    config: Layerwise
    layers: tuple[str, ...]
    ranges: bytes | None

    def alone(self, layer: str) -> Layerwise:
        """Return the strategy that leaves all other layers in float."""
        others = {*self.config.exclude, *(x for x in self.layers if x != layer)}
        return replace(self.config, exclude=tuple(sorted(others)))

    def __call__(self, layer: str) -> Iterator[float]:
        """Yield the divergence."""
        try:
            model = quantize(self.clean, self.alone(layer), self.samples, ranges=self.ranges)
        except SpratError:
            yield _APART  # this layer is not quantized by the strategy
        else:
            yield self.reference.evaluate(model).error.divergence


def _stride(count: int) -> int:
    return max(1, count // _SAMPLES)


def _layers(bench: Bench, config: Layerwise) -> list[str]:
    if isinstance(config, Weights):
        return list(weight_axes(bench.clean))[:_MAX_LAYERS]
    nodes = [
        n for n in bench.clean.graph.node if isinstance(config, Float16) or n.op_type in _HEAVY
    ]
    return [n.name for n in nodes if n.name][:_MAX_LAYERS]
