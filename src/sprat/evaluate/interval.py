"""Paired 95 % confidence intervals of a difference of scores on the same samples."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sprat.evaluate.types import Interval

_Z95 = 1.959963984540054


def paired_interval(
    reference: NDArray[np.float64], model: NDArray[np.float64], *, counts: bool | None = None
) -> Interval:
    """Return the 95 % interval of ``100 * mean(reference - model)``, in points.

    Right-or-wrong scores use the adjusted Wald interval for a difference of paired proportions
    (Bonett and Price 2012, "Adjusted Wald confidence interval for a difference of binomial
    proportions based on paired data", J. Educ. Behav. Stat. 37): it keeps its coverage when few
    samples differ, where the plain interval has no width. Other scores use Student's interval of
    their own differences, which has no width where no sample differs.

    Args:
        reference: Scores of the reference, one per sample.
        model: Scores of the model on the same samples.
        counts: Whether a score is right or wrong. By default it is where all of both are 0 or 1.

    Returns:
        The interval; all of [-100, 100] for fewer than two samples.
    """
    count = len(reference)
    if count < 2:
        return Interval(-100.0, 100.0)
    difference = reference - model
    if counts is None:
        counts = bool(np.isin(reference, (0.0, 1.0)).all() and np.isin(model, (0.0, 1.0)).all())
    if counts:
        worse = (float(np.sum(difference == 1.0)) + 1) / (count + 2)
        better = (float(np.sum(difference == -1.0)) + 1) / (count + 2)
        centre = worse - better
        half = _Z95 * math.sqrt((worse + better - centre**2) / (count + 2))
        return Interval(100 * max(-1.0, centre - half), 100 * min(1.0, centre + half))
    from scipy.stats import t

    centre = float(difference.mean())
    error = float(difference.std(ddof=1)) / math.sqrt(count)
    half = float(t.ppf(0.975, count - 1)) * error
    return Interval(100 * (centre - half), 100 * (centre + half))
