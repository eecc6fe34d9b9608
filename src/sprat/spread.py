"""The seam through which work is spread over processes and machines.

A :class:`Task` is a function whose fields decide what it yields, so that any process with the same
versions yields the same bits. A :class:`Spread` carries tasks out; the one here does so in this
process. :mod:`sprat.crew` has one that lets others take part: it changes who computes and when,
never what, nor the order in which it is used.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields
from typing import Any, Generic, TypeVar

from sprat.progress import silent

T = TypeVar("T", bound=Hashable)
R = TypeVar("R")

#: Pieces for each who takes part, at most.
_PIECES = 20


class Task(Generic[T, R]):
    """What can be carried out elsewhere: a frozen dataclass with a ``__call__``.

    Its fields travel. What it keeps for itself in a ``cached_property``, such as a session, does
    not; nor does a field ``progress``, which hears of what is done in this process alone.
    """

    def __call__(self, item: T) -> Iterable[R]:
        """Carry out one item."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        own: Any = self
        state = {field.name: getattr(self, field.name) for field in fields(own)}
        return state | ({"progress": silent} if "progress" in state else {})


class Ahead(Generic[T, R]):
    """What others may do before it is needed: here, nobody does."""

    def take(self, item: T) -> list[R] | None:
        """Return what an item yielded elsewhere; None where the caller has to carry it out.

        Args:
            item: One that was named in advance; others give None. It is handed out once.
        """
        del item
        return None


class Spread:
    """Carries tasks out in this process, one item after the other.

    Attributes:
        parties: How many take part; 1 here.
    """

    parties: int = 1

    def pieces(self, count: int, size: int) -> list[range]:
        """Cut ``range(count)`` into pieces; into one where nobody else takes part.

        Args:
            count: Of all.
            size: Of a piece, at least; long ranges get larger ones, so that there are not more than
                one needs to end together.
        """
        step = max(size, count // (_PIECES * self.parties)) if self.parties > 1 else max(1, count)
        return [range(i, min(i + step, count)) for i in range(0, count, step)]

    @property
    def notes(self) -> tuple[str, ...]:
        """What went wrong elsewhere, in words: nothing here."""
        return ()

    def resting(self) -> AbstractContextManager[None]:
        """While inside, this process may have all cores: nobody else takes part."""
        return nullcontext()

    def flat(self, task: Task[T, R], items: Sequence[T]) -> Iterator[R]:
        """Yield what a task yields for each item, in the order of the items.

        Args:
            task: What is to be done.
            items: Each is small and hashable, and appears once.
        """
        for item in items:
            yield from task(item)

    def ahead(self, task: Task[T, R], items: Sequence[T], *, urgent: bool = False) -> Ahead[T, R]:
        """Let others begin what this process will need later.

        Args:
            task: What will be done.
            items: As for :meth:`flat`.
            urgent: It is needed soon. What is not waits until others have nothing else to do.
        """
        del task, items, urgent
        return Ahead()


#: This process alone.
ALONE = Spread()
