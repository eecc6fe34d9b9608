"""How much time and memory loading, cleaning and opening a model may take.

A model of some kilobytes can ask for hours and for all memory of a machine: constants that a
runtime folds, functions that call functions. What can be counted beforehand is counted
(``model/check.py``); these limits end the rest. Native code listens to nobody, so that on the
command line the parent process measures time and memory and ends the command.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sprat.errors import CostlyModelError, OptionError
from sprat.supervisor import tell

_NUMBERS = itertools.count(1)
#: Steps that kept their limits once, by what they do and to which model.
_KEPT: set[tuple[str, str]] = set()


@dataclass(frozen=True)
class Limit:
    """One of the limits.

    Attributes:
        flag: The option that raises it.
        variable: The environment variable that raises it, for the Python functions too.
        unit: Of its value.
        usual: The value where nobody says another.
        per_megabyte: Added to ``usual`` for each MB of the model.
    """

    flag: str
    variable: str
    unit: str
    usual: float
    per_megabyte: float = 0.0

    def of(self, size: int) -> float:
        """Return the limit for a model of so many bytes.

        Raises:
            OptionError: The environment variable holds no positive number.
        """
        text = os.environ.get(self.variable)
        if not text:
            return self.usual + self.per_megabyte * size / 1e6
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not value > 0:
            raise OptionError(f"must be a number above 0, got {text!r}.", where=self.variable)
        return value

    @property
    def hint(self) -> str:
        """How to raise it."""
        return f"If you trust the model, raise {self.flag} ({self.variable} in Python)."


#: Of one step: loading, cleaning the whole graph, opening one session.
SECONDS = Limit("--max-load-seconds", "SPRAT_MAX_LOAD_SECONDS", "s", 300.0, 1.0)
#: What one step may add to the memory of the process.
MEMORY = Limit("--max-load-memory", "SPRAT_MAX_LOAD_MEMORY", "GB", 3.0, 0.025)
#: In GB: more than any machine has.
_UNBOUNDED = 1e9
#: Nodes of a model with its functions expanded.
NODES = Limit("--max-nodes", "SPRAT_MAX_NODES", "nodes", 100_000)


def too_slow(stage: str, where: str, seconds: float) -> CostlyModelError:
    """Return the error of a step that takes too much time."""
    return CostlyModelError(
        f"{stage} takes more than {seconds:g} s.", where=where, hint=SECONDS.hint
    )


def too_large(stage: str, where: str, memory: float) -> CostlyModelError:
    """Return the error of a step that takes too much memory; ``memory`` is in GB."""
    return CostlyModelError(
        f"{stage} takes more than {memory:.3g} GB of memory.", where=where, hint=MEMORY.hint
    )


@contextmanager
def limited(stage: str, where: str, size: int) -> Iterator[Callable[[], None]]:
    """Bound the time and memory of a step while inside.

    Memory is that of the whole process. So it is bounded the first time alone: a search opens many
    variants of a model that has kept the limit, while other threads take memory of their own.

    Args:
        stage: What the step does, such as "opening the model".
        where: The model.
        size: Bytes of the model; a large one gets more of both.

    Yields:
        A function to call now and then where Python can: it raises once the time is over.

    Raises:
        CostlyModelError: The step took too long.
        OptionError: An environment variable of a limit holds no positive number.
    """
    number, start = next(_NUMBERS), time.monotonic()
    seconds, memory = SECONDS.of(size), MEMORY.of(size)
    if (stage, where) in _KEPT:
        memory = _UNBOUNDED

    def check() -> None:
        if time.monotonic() - start > seconds:
            raise too_slow(stage, where, seconds)

    tell(
        "begin",
        number=number,
        stage=stage[:200],
        where=where[:400],
        seconds=seconds,
        memory=memory,
    )
    try:
        yield check
        _KEPT.add((stage, where))
    finally:
        tell("end", number=number)
