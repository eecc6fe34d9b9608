"""Channels of a vector output that have a scale in common, and what is kept of each group.

One output often holds quantities of several scales: boxes in pixels beside scores of 0 to 1. An
error that erases the scores is lost in the pixels if all values are compared as one vector. So the
channels are grouped by how much they vary over the samples, each is divided by its own spread, and
the worst group decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]

#: An axis that is longer holds positions rather than channels, where there is a shorter one.
_MOST_CHANNELS = 4096
#: A channel that varies less than this, relative to its size, is constant: float32 rounds so.
_CONSTANT = 1e-6
#: Channels sorted by spread belong together until one has this many times the spread of the last.
_GAP = 5.0
#: Scores are between 0 and 1 but for this: float16 and the sum of a softmax round so.
_BEYOND = 1e-3
#: A channel between 0 and 1 whose range is shorter than this never says yes on these samples.
_QUIET = 0.1
#: Share of its family that makes channels of small spread a group of their own.
_MINORITY = 0.1
#: A channel that varies less than this share of its family's most varying one is lost in rounding.
_LOST = 1e-4
#: The spread that a channel is divided by is at least this share of its group's.
_FLOOR = 0.3


@dataclass(frozen=True)
class Group:
    """Channels of similar spread.

    Attributes:
        channels: Indices along the channel axis.
        scales: One for each channel: an error of this size is as large as what varies.
    """

    channels: tuple[int, ...]
    scales: tuple[float, ...]


@dataclass(frozen=True)
class Grouping:
    """How the values of one output are divided into groups.

    Attributes:
        axis: The channel axis of the output; 0 where a sample has one value.
        groups: Each channel is in one of them.
    """

    axis: int
    groups: tuple[Group, ...]

    def words(self, group: int) -> str:
        """Return which channels a group has; empty where it has all."""
        if len(self.groups) == 1:
            return ""
        found = self.groups[group].channels
        runs = np.split(np.array(found), np.flatnonzero(np.diff(found) != 1) + 1)
        spans = [f"{r[0]}" if len(r) == 1 else f"{r[0]} to {r[-1]}" for r in runs]
        more = f" and {len(spans) - 4} more spans" if len(spans) > 4 else ""
        return f"channels {', '.join(spans[:4])}{more} of axis {self.axis}"


@dataclass(frozen=True)
class _Spread:
    """How channels vary over samples.

    Attributes:
        deviation: ``[C]`` standard deviation over samples, root mean square over positions.
        low: ``[C]`` least value.
        high: ``[C]`` largest value.
    """

    deviation: Floats
    low: Floats
    high: Floats

    @property
    def size(self) -> Floats:
        """``[C]`` the largest absolute value."""
        return np.asarray(np.maximum(np.abs(self.low), np.abs(self.high)))

    @property
    def varies(self) -> NDArray[np.bool_]:
        """``[C]`` whether a channel is not constant."""
        return np.asarray(self.deviation > _CONSTANT * self.size)


def find_groups(values: Array) -> Grouping:
    """Group the channels of an output by their spread over the samples.

    The channel axis is the one whose index explains most of the logarithm of each value's spread;
    where every axis is too long for channels, each value along the longest is a channel. Channels
    between 0 and 1 (scores) and others are two families. In each, channels sorted by spread are
    divided where the next has more than 5 times as much. A few channels that vary far less than
    the rest of their family stay with the rest if they say nothing: scores that are never large,
    such as classes that no sample shows, or other values that are nearly constant.

    Args:
        values: ``[N, ...]`` the original's output, samples along axis 0.

    Returns:
        The grouping. The scales make a constant answer's mean squared error 1 in each group that
        varies.
    """
    mean, variance, low, high = _over_samples(values)
    axis = _channel_axis(variance)
    around = tuple(i for i in range(variance.ndim) if i != axis - 1) if axis else None
    spread = _Spread(
        np.atleast_1d(np.sqrt(variance.mean(axis=around))),
        np.atleast_1d(low.min(axis=around)),
        np.atleast_1d(high.max(axis=around)),
    )
    levels = np.atleast_1d(np.sqrt((mean**2).mean(axis=around)))
    return Grouping(axis, tuple(_groups(spread, levels)))


def _over_samples(values: Array) -> tuple[Floats, Floats, Floats, Floats]:
    """Return mean, variance, least and largest of each value over the samples; finite ones only."""
    shape = values.shape[1:]
    total, count, square = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    low, high = np.full(shape, np.inf), np.full(shape, -np.inf)
    for row in values:
        known = np.isfinite(row)
        exact = np.where(known, row, 0).astype(np.float64)
        total += exact
        count += known
        low = np.where(known, np.minimum(low, exact), low)
        high = np.where(known, np.maximum(high, exact), high)
    count = np.maximum(count, 1)
    mean = total / count
    for row in values:
        square += np.where(np.isfinite(row), row.astype(np.float64) - mean, 0) ** 2
    seen = low <= high
    return mean, square / count, np.where(seen, low, 0), np.where(seen, high, 0)


def _channel_axis(variance: Floats) -> int:
    """Return the axis of the output, from 1, whose index explains the spreads best.

    The longest one where none is short enough for channels; 0 where a sample has one value.
    """
    logs = np.log(variance + 1e-30 + 1e-12 * variance.max(initial=0.0))
    best, found = -1.0, 0
    for axis, size in enumerate(variance.shape):
        if not 1 < size <= _MOST_CHANNELS:
            continue
        others = tuple(i for i in range(variance.ndim) if i != axis)
        explained = float(logs.mean(axis=others).var()) if others else float(logs.var())
        # Long axes explain some of any noise: each mean is of fewer values.
        explained -= float(logs.var()) * (size - 1) / max(1, logs.size - 1) if others else 0.0
        if explained > best:
            best, found = explained, axis + 1
    if not found and variance.size > 1:
        found = int(np.argmax(variance.shape)) + 1
    return found


def _groups(spread: _Spread, levels: Floats) -> list[Group]:
    varies = spread.varies
    scores = _scores(spread)
    found = []
    for family in (scores, varies & ~scores):
        members = np.flatnonzero(family)
        if not len(members):
            continue
        bounded = bool(scores[members[0]])
        clusters = _clusters(members, spread, bounded=bounded)
        found += [_group(channels, spread.deviation[channels]) for channels in clusters]
    constant = np.flatnonzero(~varies)
    if len(constant):
        scale = np.where(levels[constant] > 0, levels[constant], 1.0)
        found.append(Group(tuple(constant.tolist()), tuple(map(_short, scale))))
    return found


def _scores(spread: _Spread) -> NDArray[np.bool_]:
    """Return ``[C]`` which channels vary between 0 and 1, but for rounding.

    Small values of both signs may as well be noise: they are scores only beside others.
    """
    near = spread.varies & (spread.low >= -_BEYOND) & (spread.high <= 1 + _BEYOND)
    sure = near & ((spread.low >= 0) | (spread.high - spread.low >= _QUIET))
    return near if sure.any() else sure


def _clusters(members: NDArray[np.intp], spread: _Spread, *, bounded: bool) -> list[Array]:
    """Divide a family where its sorted spreads have a gap; join what is too little to stand alone.

    Args:
        members: The family's channels.
        spread: Of all channels.
        bounded: They are between 0 and 1.
    """
    order = members[np.argsort(-spread.deviation[members], kind="stable")]
    sorted_deviations = spread.deviation[order]
    cuts = np.flatnonzero(sorted_deviations[1:] * _GAP < sorted_deviations[:-1]) + 1
    found: list[Array] = []
    for part in np.split(order, cuts):
        if bounded:
            stands = bool(((spread.high - spread.low)[part] >= _QUIET).any())
        else:
            stands = len(part) >= _MINORITY * len(members) or _says_something(
                part, spread, float(sorted_deviations[0])
            )
        if found and not stands:
            found[-1] = np.concatenate([found[-1], part])
        else:
            found.append(part)
    return [np.sort(part) for part in found]


def _says_something(part: Array, spread: _Spread, most: float) -> bool:
    """Say whether channels vary, by their own size and beside ``most``, their family's largest."""
    by_size = (spread.high - spread.low)[part] >= _QUIET * spread.size[part]
    return bool((by_size & (spread.deviation[part] >= _LOST * most)).any())


def _group(channels: Array, deviations: Floats) -> Group:
    floor = _FLOOR * float(np.sqrt((deviations**2).mean()))
    scales = np.maximum(deviations, floor)
    scales *= np.sqrt(((deviations / scales) ** 2).mean())
    return Group(tuple(channels.tolist()), tuple(map(_short, scales)))


def _short(value: float) -> float:
    """Keep six digits: scales are part of what names a result that is kept."""
    return float(f"{value:.6g}")


def group_errors(reference: Array, model: Array, grouping: Grouping) -> Floats:
    """Return the mean squared error of each sample in each group, in units of its spread.

    Args:
        reference: ``[N, ...]`` the original's output.
        model: The same of the model.
        grouping: Of the original's output.

    Returns:
        ``[N, G]``: 0 for the same values, about 1 on average for a constant answer; NaN where a
        value is no number, or infinite in one of the two alone.
    """
    total = _InGroups(grouping)
    rows = [total(_gap(a, b)) for a, b in zip(reference, model, strict=True)]
    return np.array(rows).reshape(len(reference), len(grouping.groups))


def concordance(reference: Array, model: Array, grouping: Grouping) -> Floats:
    """Return the concordance of two models' values in each group, sample by sample.

    The mean over the samples is Lin's coefficient (Lin 1989, "A concordance correlation
    coefficient to evaluate reproducibility", Biometrics 45): 1 minus the squared error over both
    models' squared deviations from the original's mean over the samples. A factor or a shift on
    the values counts against a model, as no correlation and no cosine would have it; a constant
    answer gets 0. Here each channel is divided by its own spread, and each value has its own mean,
    so that what depends on the position alone counts for nothing.

    Args:
        reference: ``[N, ...]`` the original's output.
        model: The same of the model.
        grouping: Of the original's output.

    Returns:
        ``[N, G]``: shares of a mean, so that one sample may be below 0; NaN where a value is no
        number.
    """
    mean = _over_samples(reference)[0]
    in_groups, around = _InGroups(grouping), []
    for a, b in zip(reference, model, strict=True):
        with np.errstate(over="ignore"):
            both = np.where(np.isfinite(a), a.astype(np.float64) - mean, 0) ** 2
            both += np.where(np.isfinite(b), b.astype(np.float64) - mean, 0) ** 2
        around.append(in_groups(both))
    total = np.array(around).reshape(len(reference), len(grouping.groups))
    errors = group_errors(reference, model, grouping)
    known = np.isfinite(errors).all(axis=1)
    # Constant channels do not vary in the original: there the scale alone says what much is.
    most = np.maximum(total[known].mean(axis=0), 1.0) if known.any() else np.ones(total.shape[1])
    return np.asarray(1 - errors / most)


def _gap(reference: Array, model: Array) -> Floats:
    """Return squared differences; 0 for the same infinity."""
    a, b = reference.astype(np.float64), model.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.where(a == b, 0.0, (a - b) ** 2)
    return np.where(np.isinf(gap), np.nan, gap)


def _by_channel(values: Floats, axis: int) -> Floats:
    """Return the mean of one sample's values in each channel."""
    if axis == 0:
        return np.asarray([values.mean()])
    others = tuple(i for i in range(values.ndim) if i != axis - 1)
    return np.asarray(values.mean(axis=others))


class _InGroups:
    """Sums up one sample: its channels, each in units of its spread, as a mean for each group.

    One at a time, since the channels of all samples may be as large as the output in float64.
    """

    def __init__(self, grouping: Grouping) -> None:
        self._axis = grouping.axis
        self._groups = [
            (np.array(g.channels, dtype=np.intp), np.square(np.array(g.scales)))
            for g in grouping.groups
        ]

    def __call__(self, squares: Floats) -> Floats:
        """Return ``[G]`` from one sample's squares."""
        channels = _by_channel(squares, self._axis)
        return np.array([(channels[some] / scales).mean() for some, scales in self._groups])


def worst(scores: Floats) -> int:
    """Return the column with the least mean over the rows that are known."""
    known = np.isfinite(scores).all(axis=1)
    return int(scores[known].mean(axis=0).argmin()) if known.any() else 0
