"""Work on all cores with results that do not depend on how many there are.

Every unit of work runs single-threaded (its own ONNX Runtime call, its own BLAS call), and units
run side by side in threads, because both runtimes release the interpreter lock. A sum is then
formed in the order of the units, so one core and eight give the same bits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

from threadpoolctl import threadpool_limits

T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """Return how many cores this process may use (``SPRAT_THREADS`` sets it)."""
    asked = os.environ.get("SPRAT_THREADS", "")
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, int(asked)) if asked.isdigit() else max(1, available or 1)


@contextmanager
def cores_set(asked: str | None) -> Iterator[None]:
    """Have ``SPRAT_THREADS`` say something else while inside; None says nothing."""
    before = os.environ.get("SPRAT_THREADS")
    _say(asked)
    try:
        yield
    finally:
        _say(before)


def _say(asked: str | None) -> None:
    if asked is None:
        os.environ.pop("SPRAT_THREADS", None)
    else:
        os.environ["SPRAT_THREADS"] = asked


def ordered_map(function: Callable[[T], R], items: Iterable[T], *, ahead: int = 2) -> Iterator[R]:
    """Apply ``function`` to each item on all cores; yield the results in the items' order.

    Args:
        function: Applied to each.
        items: May be endless.
        ahead: At most so many results a core are held at once; 1 where they are large.
    """
    workers = cores()
    with threadpool_limits(limits=1), ThreadPoolExecutor(workers) as pool:
        source = iter(items)
        waiting: list[Future[R]] = [
            pool.submit(function, x) for x in islice(source, ahead * workers)
        ]
        try:
            while waiting:
                waiting[0].result()
                waiting.extend(pool.submit(function, item) for item in islice(source, 1))
                yield waiting.pop(0).result()  # kept in no variable: it may be large
        finally:
            for future in waiting:
                future.cancel()
