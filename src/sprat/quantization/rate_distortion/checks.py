"""What must be true of every point, checked before it is one.

Error feedback is greedy and layers are measured one at a time; what they do together is seen in the
whole model alone. So each point is held against three laws: it is no worse than the same layers
rounded to nearest in as many bits; no layer loses most of its output unless the model does without
it; and the model still answers differently to different samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sprat.errors import ConstantAnswerError
from sprat.parallel import ordered_map
from sprat.quantization.rate_distortion.collapse import is_constant
from sprat.quantization.rate_distortion.look import Look
from sprat.quantization.rate_distortion.losses import MOST_LOST, lost, without
from sprat.quantization.rate_distortion.part import Part, Rounded, initializers, round_part
from sprat.quantization.rate_distortion.plain import PLAIN, to_nearest

#: A layer whose removal alone costs less than this share of a point's divergence may go.
HARMLESS = 0.1
#: By so much the price of a bit falls in a layer that loses too much, so many times at most.
_FINER = 4.0
_MOST_FINER = 20
#: So many layers are named.
_NAMED = 4


@dataclass(frozen=True, eq=False)
class Checks:
    """Holds points of one model against the laws, on calibration samples.

    Attributes:
        look: A look at the whole model.
        removals: Weight name to the divergence without its layer, as far as it was needed.
    """

    look: Look
    removals: dict[str, float] = field(default_factory=dict)

    def better_nearest(
        self, parts: Sequence[Part], bits: float, weights: Mapping[str, NDArray[np.float32]]
    ) -> list[Rounded] | None:
        """Return layers rounded to nearest in as many bits, if a model of them does better.

        Args:
            parts: All layers.
            bits: Of the model that they are held against, scales counted.
            weights: Its initializers by name.

        Returns:
            Of the ways of :data:`~.plain.PLAIN` the one with the least divergence; None where the
            model is as good.
        """
        ways = [to_nearest(parts, bits, plain) for plain in PLAIN]
        found = [self._divergence(parts, way, {}) for way in ways]
        best = int(np.argmin(found))
        return ways[best] if found[best] < self.look.at(weights) else None

    def enough_kept(
        self,
        parts: Sequence[Part],
        rounded: Sequence[Rounded],
        rate: float,
        coarseness: float,
        *,
        measured: Sequence[Part] | None = None,
        others: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> list[Rounded]:
        """Round layers more finely that lose more than half of their output's energy.

        A layer may lose it where its removal was measured to cost next to nothing.

        Args:
            parts: The layers.
            rounded: Their integers and steps.
            rate: Price of a bit that made them.
            coarseness: Of the levels.
            measured: The same layers as they were measured, where ``parts`` are fitted anew.
            others: Initializer name to its value in the rest of the rounded model.

        Returns:
            Integers and steps of the same layers.
        """
        before, rest = measured or parts, others or {}
        # A fitted layer's mean is that of other inputs than its factors: together they say nothing.
        judged = [replace(new, mean=old.mean) for new, old in zip(parts, before, strict=True)]
        found = list(rounded)
        shares = list(ordered_map(lambda i: lost(judged[i], found[i]), range(len(parts))))
        losing = {i for i, share in enumerate(shares) if share > MOST_LOST}
        while losing:
            # What is rounded more finely lowers the divergence, and with it what others may cost.
            allowed = HARMLESS * self._divergence(parts, found, rest)
            blamed = {i for i in losing if self._removal(before[i]) > allowed}
            for i in blamed:
                found[i] = _finer(judged[i], found[i], rate, coarseness)
            if not blamed:
                break
            losing -= blamed
        return found

    def refuse_constant(
        self,
        parts: Sequence[Part],
        rounded: Sequence[Rounded],
        weights: Mapping[str, NDArray[np.float32]],
    ) -> None:
        """Refuse a model whose divergence is that of a constant answer.

        Args:
            parts: All layers.
            rounded: Their integers and steps.
            weights: Initializer name to its value in that model.

        Raises:
            ConstantAnswerError: It is; the layers that lost most are named.
        """
        look = self.look
        if not is_constant(look.divergence, look.reference, look.outputs(weights)):
            return
        shares = [(lost(p, r), p.layer.name) for p, r in zip(parts, rounded, strict=True)]
        worst = sorted(shares, reverse=True)[:_NAMED]
        named = ", ".join(f"{name} ({min(share, 1.0):.0%})" for share, name in worst)
        raise ConstantAnswerError(
            "rounded so coarsely, the model is no nearer to the original than one that gives the "
            f"same answer to every sample. These layers lose most of their output: {named}.",
            hint="Allow more bits, or more bytes.",
        )

    def _divergence(
        self,
        parts: Sequence[Part],
        rounded: Sequence[Rounded],
        others: Mapping[str, NDArray[np.float32]],
    ) -> float:
        weights = dict(others)
        for part, one in zip(parts, rounded, strict=True):
            weights |= initializers(part, one)
        return self.look.at(weights)

    def _removal(self, part: Part) -> float:
        name = part.layer.name
        if name not in self.removals:
            self.removals[name] = without(self.look, part)
        return self.removals[name]


def _finer(part: Part, rounded: Rounded, rate: float, coarseness: float) -> Rounded:
    """Round a layer at lower prices until it keeps half of its output's energy."""
    price = rate / part.sensitivity
    for _ in range(_MOST_FINER):
        if lost(part, rounded) <= MOST_LOST:
            break
        rounded = round_part(part, price, coarseness)
        price /= _FINER
    return rounded
