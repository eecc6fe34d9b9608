"""A student with all that changes while it learns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from sprat.distillation.configs import Recipe
from sprat.distillation.losses import Loss
from sprat.distillation.views import Views
from sprat.errors import OptionError
from sprat.progress import Progress

#: Brings the student's scores into the terms of the loss.
Shaped = Callable[[Tensor], Tensor]

#: Samples in one run of validation.
_BATCH = 256
#: The last learning rate is the first one over this.
_FINAL_DIVISOR = 1e3


class Learner:
    """A student with all that changes while it learns."""

    def __init__(self, body: nn.Module, recipe: Recipe, device: torch.device, steps: int) -> None:
        self.body = body.to(device, memory_format=torch.channels_last)
        self.device = device
        self.optimizer = _optimizer(self.body, recipe)
        self.schedule = _schedule(self.optimizer, recipe, steps)
        self.mixed = device.type == "cuda"
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.mixed)
        self.mean = AveragedModel(body, multi_avg_fn=_mean_of(recipe.ema), use_buffers=True)

    def learn(
        self, x: Tensor, answers: Tensor, labels: Tensor, shaped: Shaped, loss: Loss
    ) -> Tensor:
        """Take one step; return the loss and its two parts, ``[3]``."""
        x = x.to(self.device, memory_format=_format(x), non_blocking=True)
        with torch.autocast(self.device.type, dtype=torch.float16, enabled=self.mixed):
            scores = self.body(x)
        parts = loss(shaped(scores.float()), answers.to(self.device), labels.to(self.device))
        self.optimizer.zero_grad()
        self.scaler.scale(parts.total).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        self.mean.update_parameters(self.body)
        return torch.stack([part.detach() for part in parts])

    def scores(self, views: Views, progress: Progress) -> Tensor:
        """Return the averaged student's scores on a set, ``[N, columns]``."""
        self.mean.eval()
        found = []
        with torch.no_grad():
            for start in range(0, len(views), _BATCH):
                x = views[range(start, min(start + _BATCH, len(views)))]
                x = x.to(self.device, memory_format=_format(x))
                found.append(self.mean(x).float().cpu())
                progress("validating", min(start + _BATCH, len(views)), len(views))
        return torch.cat(found)

    def settle(self, batches: Iterable[Tensor]) -> None:
        """Measure the averaged student's normalization anew.

        Running statistics lag behind weights that still change, in a short training by so much that
        the student answers all alike; and an average of weights has other ones (SWA, Izmailov et
        al. 2018, arXiv 1803.05407, section 3.2).

        Args:
            batches: Of the student's input, float32 ``[N, C, h, w]``, of two samples at least.
        """
        update_bn((x.to(memory_format=_format(x)) for x in batches), self.mean, self.device)

    def state(self) -> dict[str, Any]:
        """Return all that a resumed training needs."""
        return {
            "body": self.body.state_dict(),
            "mean": self.mean.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take a state in."""
        self.body.load_state_dict(state["body"])
        self.mean.load_state_dict(state["mean"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])


def _format(x: Tensor) -> torch.memory_format:
    return torch.channels_last if x.ndim == 4 else torch.contiguous_format


def device_of(name: str) -> torch.device:
    """Return a device.

    Args:
        name: ``auto`` takes a GPU where torch sees one.

    Raises:
        OptionError: There is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = next(iter(str(error).splitlines()), name)
        raise OptionError(f"cannot be used ({reason}).", where=f"--device {name}") from error
    return device


def _optimizer(body: nn.Module, recipe: Recipe) -> Optimizer:
    """Return the optimizer; what has one axis (biases, normalization) is not decayed."""
    weights = [p for p in body.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in body.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": recipe.decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if recipe.optimizer == "adamw":
        return AdamW(groups, lr=recipe.highest_rate, fused=True)
    return SGD(groups, lr=recipe.highest_rate, momentum=0.9, nesterov=True)


def _schedule(optimizer: Optimizer, recipe: Recipe, steps: int) -> LRScheduler:
    if recipe.schedule == "cosine":
        return CosineAnnealingLR(optimizer, steps)
    return OneCycleLR(
        optimizer, recipe.highest_rate, total_steps=steps + 1, final_div_factor=_FINAL_DIVISOR
    )


def _mean_of(decay: float) -> Callable[..., None]:
    """Return a running mean that forgets its first steps: the decay grows to its full value.

    Args:
        decay: Of a step, in the end (Polyak and Juditsky 1992; the ramp as in Tan and Le 2019).
    """

    def update(mean: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        steps = int(count)
        now = min(decay, (1 + steps) / (10 + steps))
        get_ema_multi_avg_fn(now)(mean, current, count)

    return update
