"""What a student is and how it is taught: plain values, without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

from sprat.errors import OptionError

Augment = Literal["auto", "none", "drawing", "photo"]
_MOST_SIDE = 4096


@dataclass(frozen=True)
class Student:
    """The network that learns.

    Attributes:
        name: A network of torchvision, of timm where that is installed, or the user's
            ``module:function``.
        width: Factor on the channels of each layer.
        size: Height and width that it looks at; None takes the teacher's.
        weights: ``none``, ``imagenet`` (downloaded), or a file of a state dict.
    """

    name: str = "mobilenet_v3_small"
    width: float = 1.0
    size: tuple[int, int] | None = None
    weights: str = "none"

    def check(self) -> None:
        """Refuse values that make no sense.

        Raises:
            OptionError: A value is out of its range.
        """
        if not 0.05 <= self.width <= 8:
            raise OptionError(f"must be 0.05 to 8, got {self.width:g}.", where="--width")
        if self.size is not None and not all(8 <= side <= _MOST_SIDE for side in self.size):
            raise OptionError(
                f"must be 8 to {_MOST_SIDE} pixels, got {self.size[0]}x{self.size[1]}.",
                where="--student-size",
            )


@dataclass(frozen=True)
class Recipe:
    """How the student is taught.

    Attributes:
        epochs: Passes over ``train``; None takes as many as fit into ``minutes``.
        minutes: Time for the whole; the best so far wins.
        batch: Samples in one step.
        optimizer: ``adamw`` or ``sgd`` (with Nesterov's momentum).
        rate: The highest learning rate; None takes 0.004 for AdamW and 0.1 for SGD.
        schedule: ``one-cycle`` (Smith 2018) or ``cosine`` (Loshchilov and Hutter 2017).
        decay: Weight decay.
        ema: Decay of the running mean of the weights, a step; 0 keeps none.
        patience: Epochs without a gain on ``val`` that end the training; None waits for the end.
        alpha: Share of the soft part, the teacher's answers, in the loss; the labels have the rest.
        temperature: Softens the teacher's and the student's probabilities alike.
        vector: How embeddings are compared: ``cosine`` or ``mse``.
        augment: What keeps a picture's meaning; ``auto`` looks at the pictures.
        mirror: Whether mirrored pictures mean the same; None: for photos alone.
        asked: ``once``: the teacher answers each picture once, and that answer stands for all views
            of it. ``views``: it answers each augmented view (Beyer et al. 2022), at its own cost.
        device: ``auto``, or a device of torch such as ``cpu`` or ``cuda:1``.
    """

    epochs: int | None = None
    minutes: float = 60.0
    batch: int = 64
    optimizer: Literal["adamw", "sgd"] = "adamw"
    rate: float | None = None
    schedule: Literal["one-cycle", "cosine"] = "one-cycle"
    decay: float = 0.02
    ema: float = 0.995
    patience: int | None = None
    alpha: float = 0.9
    temperature: float = 4.0
    vector: Literal["cosine", "mse"] = "cosine"
    augment: Augment = "auto"
    mirror: bool | None = None
    asked: Literal["once", "views"] = "once"
    device: str = "auto"

    @property
    def highest_rate(self) -> float:
        """The highest learning rate."""
        return self.rate or {"adamw": 4e-3, "sgd": 0.1}[self.optimizer]

    def check(self) -> None:
        """Refuse values that make no sense.

        Raises:
            OptionError: A value is out of its range.
        """
        holds = {
            "epochs": self.epochs is None or self.epochs >= 1,
            "minutes": 0 < self.minutes < math.inf,
            "batch": self.batch >= 2,
            "rate": self.rate is None or 0 < self.rate <= 10,
            "decay": 0 <= self.decay <= 1,
            "ema": 0 <= self.ema < 1,
            "patience": self.patience is None or self.patience >= 1,
            "alpha": 0 <= self.alpha <= 1,
            "temperature": 0.1 <= self.temperature <= 100,
        }
        wrong = next((name for name, is_right in holds.items() if not is_right), None)
        if wrong is not None:
            raise OptionError(f"cannot be {getattr(self, wrong)}.", where=f"--{wrong}")
        for name, kind in get_type_hints(type(self)).items():
            words = get_args(kind)
            if all(isinstance(word, str) for word in words) and words:
                _check_word(name, getattr(self, name), words)

    def decides(self) -> dict[str, Any]:
        """Return what the student's weights depend on, as JSON values: all but the time."""
        kept = {f.name: getattr(self, f.name) for f in fields(self)}
        del kept["minutes"]
        return kept


def _check_word(name: str, value: str, words: tuple[str, ...]) -> None:
    if value not in words:
        raise OptionError(f"must be one of {', '.join(words)}, got {value!r}.", where=f"--{name}")
