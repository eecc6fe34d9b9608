"""What an evaluation says: plain frozen dataclasses that travel between the rooms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: How the primary output is read. ``logit``: one value, above a threshold means class 1.
#: ``classes``: one score per class, the largest wins. ``sequence``: one score per class at each
#: position. ``integers``: the answers themselves, such as classes or a mask behind an ArgMax,
#: compared for equality. ``vector``: anything else, compared by concordance in groups of channels.
OutputKind = Literal["logit", "classes", "sequence", "integers", "vector"]


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval, in the unit of the figure that it belongs to."""

    low: float
    high: float


@dataclass(frozen=True)
class Flip:
    """A sample on which the two models answer differently.

    Attributes:
        sample: The sample's name (a path relative to the data folder, or its index).
        label: Name of the true class; empty where there are no labels.
        reference: The original model's answer.
        model: The smaller model's answer.
        reference_score: The original's score for its own answer (a probability where known).
        model_score: The smaller model's score for its own answer.
    """

    sample: str
    label: str
    reference: str
    model: str
    reference_score: float
    model_score: float


@dataclass(frozen=True)
class OutputDistance:
    """How far the model's raw outputs lie from the reference's, over all samples and outputs.

    Attributes:
        max_abs: Largest absolute difference.
        mean_abs: Mean absolute difference.
        snr_db: Signal-to-noise ratio in decibels, 10 log10(sum ref^2 / sum (ref - model)^2).
        divergence: Mean Kullback-Leibler divergence KL(reference || model) in nats, where the
            output is a probability, a logit or class scores; otherwise the mean squared error
            in the worst group of channels over what varies there, or the share of different
            integers. Of several outputs that decide, the largest.
    """

    max_abs: float
    mean_abs: float
    snr_db: float
    divergence: float


@dataclass(frozen=True)
class Evaluation:
    """One model against the reference on the same samples.

    Attributes:
        split: The samples' name: ``val``, ``test`` or ``data``.
        samples: How many.
        metric: ``accuracy`` where there are labels, ``agreement`` where there are none,
            ``equal integers`` for several integers a sample, ``concordance`` for vectors, or the
            user's metric's name. Of several outputs that decide, that of the worst.
        reference: The reference's mean score, 0 to 1 (1 by definition where there are no labels,
            less the samples on which it gives no number).
        model: The model's mean score; concordance is below 0 where a constant answer does better.
        drop: ``100 * (reference - model)``, in points. Positive means that the model is worse.
        interval: 95 % interval of ``drop``, paired by sample.
        agreement: Share of the samples with the same answer, 0 to 1.
        error: Distance of the raw outputs.
        flips: Samples with different answers, surest reference answers first.
        worst: The output and the channels that decided, in words; empty where there is no choice.
        invalid: Samples on which the model gives NaN in an output that decides.
        first_invalid: The name of the first of them.
        lost: Those of them on which the original gives none.
    """

    split: str
    samples: int
    metric: str
    reference: float
    model: float
    drop: float
    interval: Interval
    agreement: float
    error: OutputDistance
    flips: tuple[Flip, ...] = ()
    worst: str = ""
    invalid: int = 0
    first_invalid: str = ""
    lost: int = 0

    @property
    def changed(self) -> int | None:
        """How many samples changed their answer.

        None where they agree by degrees, as vectors and masks do: no answer is the same or not.
        """
        return len(self.flips) if self.flips or self.agreement == 1 else None


@dataclass(frozen=True)
class Speed:
    """Native time of one model as a ratio to the reference, measured alternately.

    Attributes:
        ratio: Median over the rounds of model time / reference time.
        interval: First and ninth decile of the rounds' ratios.
        reference_ms: Median time of one reference run in milliseconds, batch of one.
        model_ms: The same for the model.
        rounds: How many alternations.
        threads: Threads of each session.
    """

    ratio: float
    interval: Interval
    reference_ms: float
    model_ms: float
    rounds: int
    threads: int
