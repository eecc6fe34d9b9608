"""What the rate-distortion benchmarks share: a model, its data, and a measured point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from sprat.evaluate.evaluate import Reference
from sprat.evaluate.reading import MeanDivergence
from sprat.graph.simplify import simplify
from sprat.model.nodes import name_nodes
from sprat.model.session import Feeds
from sprat.model.wire import brotli_bytes
from sprat.quantization.rate_distortion import TYPICAL, Point, Prepared, pack, prepare
from sprat.quantization.rate_distortion.engine import expanded
from sprat.quantization.rate_distortion.layers import find_layers
from sprat.quantization.rate_distortion.look import replaced
from sprat.search.rate import calibration_batches
from sprat.workflow.setting import open_setting


@dataclass(frozen=True)
class Measured:
    """One point on a curve.

    Attributes:
        bits_per_weight: Order-0 entropy of the integers over all of them.
        int8: br-11 bytes of the file with int8 weights.
        int4: br-11 bytes with packed 4-bit weights.
        divergence: Mean divergence from the original.
        drop: In points; NaN without labels.
        agreement: Share of the same answers.
    """

    bits_per_weight: float
    int8: int
    int4: int
    divergence: float
    drop: float
    agreement: float


@dataclass(frozen=True)
class Compared:
    """A point without its file: bytes of the integers' order-0 entropy, and the divergence."""

    bytes: float
    divergence: float


@dataclass(frozen=True)
class Ground:
    """A clean model with calibration batches and the original's answers.

    Attributes:
        model: Clean, nodes named.
        samples: Calibration batches.
        reference: The original's answers on the choice split.
        rate: The price of a bit at a usual point.
    """

    model: onnx.ModelProto
    samples: Sequence[Feeds]
    reference: Reference
    rate: float

    def prepare(self, share: int = 1) -> Prepared:
        """Measure the layers with one in ``share`` of the calibration batches."""
        kept = self.samples[::share]
        return prepare(self.model, kept, MeanDivergence(self.reference.reading))

    def compare(self, point: Point) -> Compared:
        """Compare a point's weights with the original; its bytes are those of the entropy."""
        model = replaced(self.model, expanded(point))
        return Compared(point.bits / 8, self.reference.evaluate(model).error.divergence)

    def measure(self, point: Point) -> Measured:
        """Pack a point both ways, weigh it, and compare it with the original."""
        int8 = pack(self.model, point, "int8")
        int4 = pack(self.model, point, "int4")
        found = self.reference.evaluate(int8)
        weights = sum(values.size for values in point.integers.values())
        return Measured(
            point.bits / weights,
            brotli_bytes(int8.SerializeToString(deterministic=True)),
            brotli_bytes(int4.SerializeToString(deterministic=True)),
            found.error.divergence,
            found.drop,
            found.agreement,
        )


def open_ground(model: Path, data: Path, limit: int | None = None) -> Ground:
    """Open a model and its data.

    Args:
        model: The original's file.
        data: As for ``sprat optimize --data``.
        limit: At most so many samples of each split.

    Returns:
        The ground that every variant stands on.
    """
    setting = open_setting(model, data, limit=limit)
    clean = name_nodes(simplify(setting.model, setting.calibration(4)).model)
    weights = sum(math.prod(layer.shape) for layer in find_layers(clean))
    samples = calibration_batches(setting.data.calibration, setting.reference.size, fixed=False)
    return Ground(clean, samples, setting.reference, TYPICAL / weights)
