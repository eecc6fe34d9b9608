"""The rule that ends a trial early, where the study has two objectives.

optuna's pruners compare one reported figure, and refuse a study with two objectives: a narrow
student's loss is worse than a wide one's without being a worse trade. This is the median rule
(Golovin et al. 2017, Vizier) among equals: a trial is held only against those that will not be
larger on the wire, which is known before it begins, by weights times bits per weight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

#: Share of the planned epochs before which no trial is ended: a schedule starts slowly.
_WARM = 1 / 3
#: Trials that it must be held against, at least.
_LEAST = 4


@dataclass(frozen=True)
class Course:
    """A trial as far as it has come.

    Attributes:
        bits: Expected bits on the wire: weights times bits per weight.
        planned: Epochs.
        losses: Epoch, from 1, to the mean divergence from the teacher on val.
    """

    bits: float
    planned: int
    losses: Mapping[int, float]

    @property
    def share(self) -> float:
        """The share of its plan that is done."""
        return max(self.losses, default=0) / self.planned

    def best(self, share: float) -> float:
        """Return the least loss within a share of the plan; infinite before the first epoch."""
        found = (loss for epoch, loss in self.losses.items() if epoch <= share * self.planned)
        return min(found, default=math.inf)


def is_behind(course: Course, others: Sequence[Course]) -> bool:
    """Say whether a trial is to be ended: behind the median of those that are no larger.

    Args:
        course: The trial.
        others: All others of the study, ended or under way.
    """
    share = course.share
    if not _WARM <= share < 1:
        return False
    equals = [o.best(share) for o in others if o.bits <= course.bits and o.share >= share]
    return len(equals) >= _LEAST and course.best(share) > median(equals)
