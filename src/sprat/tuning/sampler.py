"""The sampler: each trial draws from a seed of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from sprat.files import sha256
from sprat.tuning.tally import is_first

#: Trials that are drawn at random before the sampler learns from them.
_RANDOM = 8


class TrialSampler(BaseSampler):
    """Multi-objective TPE (Ozaki et al. 2022) with a random state for each trial.

    A sampler with one state would draw, in a second process or after a resumption, what the first
    one drew already. Here the state comes from the study's seed and from how many trials went
    before, repetitions not counted: one worker, broken off or not, draws the same; several never
    draw alike.

    Args:
        seed: The study's.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._inner = self._sampler(0)

    def _sampler(self, number: int) -> TPESampler:
        seed = int(sha256(f"{self._seed} {number}".encode())[:8], 16)
        return TPESampler(n_startup_trials=_RANDOM, seed=seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Take the trial's own random state."""
        before = study.get_trials(deepcopy=False)
        self._inner = self._sampler(sum(is_first(t) for t in before if t.number < trial.number))
        self._inner.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return what is drawn together."""
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw what is drawn together."""
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw one figure."""
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Hear of a trial's end."""
        self._inner.after_trial(study, trial, state, values)
