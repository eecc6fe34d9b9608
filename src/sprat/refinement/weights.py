"""A point's numbers as torch sees them: integers, steps and biases that gradients can move.

An integer is the nearest to a latent value, and gradients pass through the rounding as if it were
not there (straight-through estimator: Bengio, Léonard and Courville 2013, arXiv 1308.3432). What a
bit costs is added to the latent's gradient by the slope of the layer's own code length, the line
through the integers' bits, so that a weight moves where divergence plus price of the bits falls.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer

from sprat.quantization.rate_distortion import Point
from sprat.quantization.rate_distortion.biases import shorten
from sprat.quantization.rate_distortion.rounding import LIMIT, bit_costs, entropy_bits
from sprat.refinement.config import Refine

#: Mantissa bits that biases keep: the fewest that hold a tensor as the point has it.
_BIAS_BITS = (8, 12, 16, 24)
_STEP_BITS = 8
_MOMENTUM = 0.9


class Weights:
    """What is learned.

    Args:
        point: Where it begins.
    """

    def __init__(self, point: Point) -> None:
        self._point = point
        self._bias_bits = {name: _mantissa(values) for name, values in point.biases.items()}
        self._ranges = {name: (int(q.min()), int(q.max())) for name, q in point.integers.items()}
        self.latents = {n: _parameter(q.astype(np.float32)) for n, q in point.integers.items()}
        self.scales = {name: _parameter(np.zeros_like(s)) for name, s in point.steps.items()}
        self.biases = {name: _parameter(values) for name, values in point.biases.items()}
        self._powers, self._steps = dict.fromkeys(point.integers, 0.0), 0

    def optimizers(self, config: Refine, steps: int) -> list[Optimizer]:
        """Return what moves them: the rates are the highest of the schedule.

        The latents share one second moment a tensor (Adam-mini, Zhang et al. 2024, arXiv
        2406.16793). With one each, as in Adam, all would travel equally fast and turn over at the
        same moment; so those whose gradients are large turn over alone.
        """
        groups: list[dict[str, Any]] = [
            {"params": list(self.scales.values()), "lr": config.scale_rate}
        ]
        for bias in self.biases.values():
            size = float(bias.detach().square().mean().sqrt())
            groups.append({"params": [bias], "lr": config.bias_rate * max(size, 1e-6)})
        found: list[Optimizer] = [Adam(groups)]
        if config.reach:  # half of the highest rate is about the schedule's mean
            rate = 2 * config.reach / steps
            found.append(SGD(self.latents.values(), rate, _MOMENTUM, dampening=_MOMENTUM))
        for latent in self.latents.values():
            latent.requires_grad_(bool(config.reach))
        return found

    def __call__(self) -> dict[str, Tensor]:
        """Return initializer name to value, as :meth:`point` would store it."""
        found = {name: _through(bias, self._short(name)) for name, bias in self.biases.items()}
        for name, latent in self.latents.items():
            whole = _through(latent, latent.detach().round())
            found[name] = whole * self._step(name, latent.ndim)
        return found

    def is_led(self) -> bool:
        """Say whether all gradients are finite: a model that was driven too far gives none."""
        learned = (*self.latents.values(), *self.scales.values(), *self.biases.values())
        return all(bool(p.grad.isfinite().all()) for p in learned if p.grad is not None)

    def charge(self, price: float) -> float:
        """Add what the integers' bits cost to the gradients of the latents.

        Args:
            price: Of a bit, in divergence.

        Returns:
            The order-0 entropy of all the integers, in bits.
        """
        total = 0.0
        for latent in self.latents.values():
            integers = _integers(latent)
            total += entropy_bits(integers)
            costs = bit_costs(integers)
            slopes = np.diff(costs, append=costs[-1])
            below = latent.detach().floor().to(torch.int64) + LIMIT
            assert latent.grad is not None
            latent.grad += price * torch.from_numpy(slopes.astype(np.float32))[below]
        return total

    def level(self) -> None:
        """Divide each tensor's latent gradients by their rms over all steps so far."""
        self._steps += 1
        for name, latent in self.latents.items():
            assert latent.grad is not None
            power = float(latent.grad.square().mean())
            self._powers[name] += (power - self._powers[name]) / self._steps
            latent.grad /= max(self._powers[name], 1e-30) ** 0.5

    def confine(self) -> None:
        """Keep every integer within its layer's range, so that it stays in the same form."""
        with torch.no_grad():
            for name, latent in self.latents.items():
                latent.clamp_(*self._ranges[name])

    def point(self) -> Point:
        """Return the point as it is now."""
        integers = {name: _integers(latent) for name, latent in self.latents.items()}
        found = {name: entropy_bits(values) for name, values in integers.items()}
        return replace(
            self._point,
            integers=integers,
            steps={name: self._short_step(name).numpy() for name in self.scales},
            biases={name: self._short(name).numpy() for name in self.biases},
            layers=tuple(
                replace(layer, bits_per_weight=found[layer.name] / layer.weights)
                for layer in self._point.layers
            ),
            bits=sum(found.values()),
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


def _integers(latent: Tensor) -> NDArray[np.int8]:
    return np.asarray(latent.detach().round().to(torch.int8).numpy())


def _mantissa(values: NDArray[np.float32]) -> int:
    return next(bits for bits in _BIAS_BITS if np.array_equal(shorten(values, bits), values))
