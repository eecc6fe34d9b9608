"""The sampler: each figure of a trial is drawn from a seed of its own."""

from __future__ import annotations

from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from sprat.files import sha256
from sprat.tuning.tally import first_number, is_first

#: Trials that are drawn at random before the sampler learns from them.
_RANDOM = 8


class TrialSampler(RandomSampler):
    """Multi-objective TPE (Ozaki et al. 2022) with a random state for each figure of each trial.

    A sampler with one state would draw, in a second process or after a resumption, what the first
    one drew already. Here the state comes from the study's seed, from how many trials went before
    this one's first attempt, repetitions not counted, and from the figure's name: several workers
    never draw alike, and a repetition of a trial that was killed while it drew, draws the same.

    Args:
        seed: The study's.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._seed = seed

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw one figure."""
        first = first_number(trial)
        before = sum(is_first(t) for t in study.get_trials(deepcopy=False) if t.number < first)
        seed = int(sha256(f"{self._seed} {before} {param_name}".encode())[:8], 16)
        tpe = TPESampler(n_startup_trials=_RANDOM, seed=seed)
        return tpe.sample_independent(study, trial, param_name, param_distribution)
