"""How a point is refined: plain values, without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sprat.errors import OptionError

#: Calibration samples that are learned from, where there are so many: more teach more, and only
#: those that a step comes to are read.
MOST_SAMPLES = 4096


@dataclass(frozen=True)
class Refine:
    """How a rate-distortion point is refined.

    Attributes:
        minutes: Time for it; as many steps as fit are planned after the first have been timed.
        steps: Exactly so many steps instead, however long they take: the same bytes every time.
        batch: Samples of a step, rounded up to whole calibration batches.
        scale_rate: Highest learning rate of the steps (in logarithms).
        bias_rate: Highest learning rate of the biases, in units of the layer's rms bias.
        seed: Orders the samples.
    """

    minutes: float = 10.0
    steps: int | None = None
    batch: int = 32
    scale_rate: float = 3e-3
    bias_rate: float = 1e-2
    seed: int = 0

    def check(self) -> None:
        """Refuse values that make no sense.

        Raises:
            OptionError: A value is out of its range.
        """
        holds = {
            "minutes": 0 < self.minutes < math.inf,
            "steps": self.steps is None or self.steps >= 1,
            "batch": self.batch >= 1,
            "scale_rate": 0 <= self.scale_rate <= 1,
            "bias_rate": 0 <= self.bias_rate <= 1,
        }
        wrong = next((name for name, is_right in holds.items() if not is_right), None)
        if wrong is not None:
            raise OptionError(f"{wrong} cannot be {getattr(self, wrong)}.", where="--refine")
