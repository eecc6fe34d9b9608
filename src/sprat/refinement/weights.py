"""A point's numbers as torch sees them: its integers stay, steps and biases move by gradients.

Both are stored with few bits of mantissa; gradients pass through that shortening as if it were not
there (straight-through estimator: Bengio, Léonard and Courville 2013, arXiv 1308.3432).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Adam

from sprat.quantization.rate_distortion import Point
from sprat.quantization.rate_distortion.biases import shorten
from sprat.refinement.config import Refine

#: Mantissa bits that biases keep: the fewest that hold a tensor as the point has it.
_BIAS_BITS = (8, 12, 16, 24)
_STEP_BITS = 8


class Weights:
    """What is learned.

    Args:
        point: Where it begins.
    """

    def __init__(self, point: Point) -> None:
        self._point = point
        self._bias_bits = {name: _mantissa(values) for name, values in point.biases.items()}
        self._integers = {
            name: torch.from_numpy(q.astype(np.float32)) for name, q in point.integers.items()
        }
        self.scales = {name: _parameter(np.zeros_like(s)) for name, s in point.steps.items()}
        self.biases = {name: _parameter(values) for name, values in point.biases.items()}

    def optimizer(self, config: Refine) -> Adam:
        """Return what moves them; its rates are the highest of the schedule."""
        groups: list[dict[str, Any]] = [
            {"params": list(self.scales.values()), "lr": config.scale_rate}
        ]
        for bias in self.biases.values():
            size = float(bias.detach().square().mean().sqrt())
            groups.append({"params": [bias], "lr": config.bias_rate * max(size, 1e-6)})
        return Adam(groups)

    def __call__(self) -> dict[str, Tensor]:
        """Return initializer name to value, as :meth:`point` would store it."""
        found = {name: _through(bias, self._short(name)) for name, bias in self.biases.items()}
        for name, integers in self._integers.items():
            found[name] = integers * self._step(name, integers.ndim)
        return found

    def is_led(self) -> bool:
        """Say whether all gradients are finite: a model that was driven too far gives none."""
        learned = (*self.scales.values(), *self.biases.values())
        return all(bool(p.grad.isfinite().all()) for p in learned if p.grad is not None)

    def point(self) -> Point:
        """Return the point as it is now."""
        return replace(
            self._point,
            steps={name: self._short_step(name).numpy() for name in self.scales},
            biases={name: self._short(name).numpy() for name in self.biases},
        )

    def _step(self, name: str, rank: int) -> Tensor:
        scale, base = self.scales[name], torch.from_numpy(self._point.steps[name])
        step = _through(base * scale.exp(), self._short_step(name))
        if step.ndim == 0:
            return step
        axis = self._point.axes[name]
        return step.reshape([-1 if i == axis else 1 for i in range(rank)])

    def _short_step(self, name: str) -> Tensor:
        exact = self._point.steps[name] * np.exp(self.scales[name].detach().numpy())
        return torch.from_numpy(shorten(exact, _STEP_BITS))

    def _short(self, name: str) -> Tensor:
        return torch.from_numpy(shorten(self.biases[name].detach().numpy(), self._bias_bits[name]))


def _through(value: Tensor, stored: Tensor) -> Tensor:
    """Return what is stored, with the gradient of the value."""
    return value + (stored - value).detach()


def _parameter(values: NDArray[np.float32]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, requires_grad=True)


def _mantissa(values: NDArray[np.float32]) -> int:
    return next(bits for bits in _BIAS_BITS if np.array_equal(shorten(values, bits), values))
