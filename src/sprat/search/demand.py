"""How large an accuracy budget a point of a curve needs: its expected drop, and some caution."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from sprat.evaluate.types import Evaluation
from sprat.search.budget import costs_nothing, standard_error

#: Standard errors between a point's expected drop and the budget: five in six are within it
#: (one-sided). The walk ends at the budget, so its choice is luckier than one of a few fixed
#: candidates, and luck does not carry over.
_CAUTION = 1.0
#: Without labels every changed answer counts against a model and none cancels another.
_CAUTION_UNLABELLED = 2.0
#: Points of at most this many times the divergence foretell a point's drop.
_REACH = 2.0


def demand(
    evaluation: Evaluation, curve: Iterable[Evaluation], own: Evaluation | None = None
) -> float:
    """Return how large a budget a point needs, in points of the measure.

    Args:
        evaluation: Of the point.
        curve: Of the points that were measured, this one among them.
        own: Of what is made small, before any quantization; None where it is the reference.
    """
    if costs_nothing(evaluation):
        return 0.0
    return expected(evaluation, curve, own) + caution(evaluation) * standard_error(evaluation)


def caution(evaluation: Evaluation) -> float:
    """Return how many standard errors are added to a point's expected drop."""
    return _CAUTION_UNLABELLED if evaluation.metric == "agreement" else _CAUTION


def expected(
    evaluation: Evaluation, curve: Iterable[Evaluation], own: Evaluation | None = None
) -> float:
    """Return the drop to reckon with, in points: the measured one, or a larger foretold one.

    Args:
        evaluation: Of the point.
        curve: Of the points that were measured, this one among them.
        own: As for :func:`demand`.
    """
    return max(evaluation.drop, _foretold(evaluation, curve, own))


def _foretold(evaluation: Evaluation, curve: Iterable[Evaluation], own: Evaluation | None) -> float:
    """Return the drop in points that a divergence foretells: weighted least squares.

    The line goes through the start, and each point weighs by the inverse square of its standard
    error (Aitken 1936). The start is no divergence and no drop, or the student's own before any
    quantization. Points far beyond this one do not count: a collapse says nothing about small
    divergences.
    """
    start, lost = (0.0, 0.0) if own is None else (own.error.divergence, own.drop)

    def added(e: Evaluation) -> float:
        return max(0.0, e.error.divergence - start)

    reach = _REACH * added(evaluation)
    seen = [e for e in curve if added(e) <= reach]
    errors = np.array([max(standard_error(e), 1e-3) for e in seen])
    x = np.array([added(e) for e in seen]) / errors
    y = np.array([e.drop - lost for e in seen]) / errors
    slope = float((x * y).sum() / max(float((x * x).sum()), 1e-30))
    return lost + max(0.0, slope) * added(evaluation)
