"""Take samples from the user's own Python function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sprat.data.archives import MAX_BYTES
from sprat.data.tensors import LABELS, Part
from sprat.errors import DataError, OptionError
from sprat.imported import importable, imported

_SPLITS = ("train", "val", "test")


def read_callable(name: str) -> list[Part]:
    """Take batches from ``package.module:function``.

    The function is called with ``"train"``, ``"val"`` and ``"test"`` if it takes an argument, else
    once without. It yields batches: a dict of arrays by input name, or a pair of that and labels;
    nothing for a split that it does not have.

    Args:
        name: ``package.module:function``; the current folder is importable.

    Returns:
        The arrays of each split, all in memory; batches whose samples have other shapes than those
        before them are parts of their own.

    Raises:
        OptionError: It cannot be imported, or is no function.
        DataError: It fails, yields something else, or more than 4 GiB.
    """
    with importable(Path.cwd()):
        function, takes_split = _imported(name)
        calls = [((split,), split) for split in _SPLITS] if takes_split else [((), "")]
        return [
            Part(content, split, name)
            for given, split in calls
            for content in _materialized(function, given, name)
        ]


def _imported(name: str) -> tuple[Callable[..., Iterable[Any]], bool]:
    function: Callable[..., Iterable[Any]] = imported(name, name)
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise OptionError(f"is no function to call ({error}).", where=name) from error
    keyword = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)
    return function, any(parameter.kind not in keyword for parameter in parameters)


def _materialized(
    function: Callable[..., Iterable[Any]], arguments: tuple[str, ...], name: str
) -> list[dict[str, NDArray[Any]]]:
    runs: list[list[dict[str, NDArray[Any]]]] = []
    total = 0
    try:
        for batch in function(*arguments):
            rows = _batch(batch, name)
            if runs and set(rows) != set(runs[0][0]):
                raise DataError(
                    f"yields {sorted(rows)} after {sorted(runs[0][0])}; all batches must have the "
                    "same.",
                    where=name,
                )
            total += sum(array.nbytes for array in rows.values())
            if total > MAX_BYTES:
                raise DataError(f"yields more than {MAX_BYTES >> 30} GiB.", where=name)
            if runs and _shapes(rows) == _shapes(runs[-1][-1]):
                runs[-1].append(rows)
            else:
                runs.append([rows])
        return [_together(run) for run in runs]
    except DataError:
        raise
    except Exception as error:  # the user's own code raises what it likes
        raise DataError(f"failed ({type(error).__name__}: {error}).", where=name) from error


def _shapes(rows: dict[str, NDArray[Any]]) -> dict[str, tuple[int, ...]]:
    """Return the shape of one sample by array; scalars have no axis of samples."""
    return {key: array.shape[1:] if array.ndim else (-1,) for key, array in rows.items()}


def _together(run: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {key: np.concatenate([rows[key] for rows in run]) for key in run[0]}


def _batch(batch: Any, name: str) -> dict[str, NDArray[Any]]:
    is_pair = isinstance(batch, tuple) and len(batch) == 2
    feeds, labels = batch if is_pair else (batch, None)
    if not isinstance(feeds, Mapping) or not feeds:
        raise DataError(
            f"yields {type(feeds).__name__}; it must yield dicts of arrays by input name, or "
            "pairs of that and labels.",
            where=name,
        )
    rows = {str(key): np.asarray(value) for key, value in feeds.items()}
    return rows if labels is None else {**rows, LABELS[0]: np.asarray(labels)}
