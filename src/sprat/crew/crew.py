"""The main process's side: it hands out items, and carries out itself what nobody has begun.

Nodes take items from the end of a list while the main process goes through it from the front, so
that nobody waits before they meet. What a node yields is used exactly where the main process
would have used its own; what a node loses, it does itself.
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from uuid import uuid4

from sprat.crew import node
from sprat.crew.parcels import Depot, chunks
from sprat.parallel import cores_set
from sprat.progress import Progress
from sprat.spread import Ahead, Spread, Task

if TYPE_CHECKING:
    from distributed import Client

R = TypeVar("R")

#: Seconds after which one who waits looks whether there is still something to wait for.
_LOOK = 0.2
#: A node is late that takes so many times what the main process took for an item, and so long.
_TIMES, _SECONDS = 4.0, 20.0
#: It is late after so long where the main process did none of the list.
_UNKNOWN = 60.0
#: Seconds for threads to see that it is over; they hold nothing that could not be lost.
_PATIENCE = 5.0
#: Seconds for fetching what an item yielded.
_TRANSFER = 120
_WAITING = "waiting for a node"


@dataclass(eq=False)
class _Unit:
    """One item: who has it, and what came of it."""

    item: Any
    state: Literal["free", "running", "taken", "over"] = "free"
    values: list[Any] | None = None


@dataclass(eq=False)
class _Work:
    """A task with its items."""

    name: str
    units: dict[Any, _Unit]
    urgent: bool
    longest: float = field(default=0.0)


class _Begun(Ahead[Any, Any]):
    def __init__(self, crew: Crew, work: _Work) -> None:
        self._crew = crew
        self._work = work

    def take(self, item: Any) -> list[Any] | None:
        return self._crew.settle(self._work, item)


class Crew(Spread):
    """Lets the nodes of a Dask cluster take part.

    Args:
        client: Connected to the scheduler.
        depot: Where tasks are left for nodes.
        progress: Told while this process waits for a node; what it raises ends the waiting.
        threads: ``SPRAT_THREADS`` as it was before others took their share of the cores.
    """

    def __init__(
        self, client: Client, depot: Depot, progress: Progress, threads: str | None = None
    ) -> None:
        self._client = client
        #: Of the scheduler: ``tls://127.0.0.1:8786``.
        self.address = str(client.scheduler.address) if client.scheduler else ""
        self._depot = depot
        self._progress = progress
        self._threads_before = threads
        self._bad: dict[str, str] = {}
        self._sending: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._counted = (-math.inf, 0)
        self._changed = threading.Condition()
        self._works: list[_Work] = []
        self._ended = False
        self.parties = 1 + self._nodes()
        self._threads = [
            threading.Thread(target=self._attend, name=f"sprat-node-{i}", daemon=True)
            for i in range(self._nodes())
        ]
        for thread in self._threads:
            thread.start()

    def resting(self) -> AbstractContextManager[None]:
        """While inside, this process may have all cores."""
        return cores_set(self._threads_before)

    def flat(self, task: Task[Any, R], items: Sequence[Any]) -> Iterator[R]:
        """Yield what a task yields for each item, in the order of the items."""
        if len(items) < 2:
            yield from super().flat(task, items)
            return
        work = self._open(task, items, urgent=True)
        with self._changed:
            self._changed.notify_all()
        try:
            for item in items:
                values = self.settle(work, item)
                if values is not None:
                    yield from values
                    continue
                start = time.monotonic()
                yield from task(item)
                work.longest = max(work.longest, time.monotonic() - start)
        finally:
            self._close(work)

    def ahead(self, task: Task[Any, R], items: Sequence[Any], *, urgent: bool = False) -> _Begun:
        """Let nodes begin what this process will need later."""
        return _Begun(self, self._open(task, items, urgent=urgent))

    def settle(self, work: _Work, item: Any) -> list[Any] | None:
        """Return what an item yielded on a node; None where this process has to carry it out.

        A node that has begun is waited for, unless it is late. What comes of the item after this
        is not used.

        Args:
            work: What the item belongs to.
            item: The item.
        """
        allowed = _SECONDS + _TIMES * work.longest if work.longest else _UNKNOWN
        late = time.monotonic() + allowed
        with self._changed:
            unit = work.units.pop(item, _Unit(item))
            waits = unit.state == "running"
            while unit.state == "running" and time.monotonic() < late:
                self._changed.wait(_LOOK)
                self._progress(_WAITING, 0, 1)
            unit.state = "taken"
        if waits:
            self._progress(_WAITING, 1, 1)
        return unit.values

    @property
    def notes(self) -> tuple[str, ...]:
        """What went wrong on nodes, in words."""
        return tuple(
            f"WARNING: the node {address} took no part any more ({reason})"
            for address, reason in sorted(self._bad.items())
        )

    def close(self) -> None:
        """Hand out nothing more; items that are under way are forgotten."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        end = time.monotonic() + _PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _open(self, task: Task[Any, Any], items: Sequence[Any], *, urgent: bool) -> _Work:
        units = {item: _Unit(item) for item in items}
        work = _Work(self._depot.pack(task) if units else "", units, urgent)
        with self._changed:
            # What is not urgent is begun by a node that comes back for more, not before this
            # process has come to its first list: it needs all hands.
            self._works.append(work)
        return work

    def _close(self, work: _Work) -> None:
        with self._changed:
            self._works.remove(work)

    def _attend(self) -> None:
        """Keep one node busy until the end."""
        while (claimed := self._claim()) is not None:
            work, unit = claimed
            values = None
            with suppress(Exception):  # Dask raises what it likes; the item is then done here
                values = self._carried_out(work.name, unit.item)
            with self._changed:
                if unit.state == "running":
                    unit.state, unit.values = "over", values
                self._changed.notify_all()

    def _claim(self) -> tuple[_Work, _Unit] | None:
        """Wait for an item that nobody has, the urgent first; None at the end."""
        with self._changed:
            while not self._ended:
                for work in sorted(self._works, key=lambda work: not work.urgent):
                    for unit in reversed(work.units.values()):
                        if unit.state == "free":
                            unit.state = "running"
                            return work, unit
                self._changed.wait()
        return None

    def _carried_out(self, name: str, item: Any) -> list[Any] | None:
        """Let a node carry out an item; None where it could not."""
        wanted = ""
        for _ in range(2 * self.parties):
            answer = self._asked(name, item, wanted)
            if isinstance(answer, node.Done):
                return answer.values
            if isinstance(answer, node.Failed):
                self._bad[answer.node] = answer.reason  # it is asked no more
                wanted = ""
            elif isinstance(answer, node.Lacking):
                wanted = answer.node
                with self._sending[wanted]:
                    self._supply(wanted, name)
            else:
                return None
        return None

    def _asked(self, name: str, item: Any, wanted: str) -> object:
        """Ask a node once, any that is not bad or that one; None where it or the cluster died."""
        at = [wanted] if wanted else self._good() if self._bad else None
        if at == []:
            return None
        place, key = str(self._depot.folder), f"sprat-{uuid4().hex}"
        over = threading.Event()
        try:
            asked = self._client.submit(
                node.work,
                node.about(),
                place,
                name,
                item,
                key=key,
                workers=at,
                allow_other_workers=bool(wanted),
            )
            asked.add_done_callback(lambda _: over.set())
            while self._is_up():
                if over.wait(_LOOK):
                    return asked.result(timeout=_TRANSFER)
            if self._client.status == "running":
                asked.cancel()
        except Exception:  # a node or the scheduler died: this process does the item itself
            return None
        return None

    def _supply(self, address: str, name: str) -> None:
        """Send a node what it cannot read; one that dies meanwhile is found out later."""
        sources = self._depot.sources(name)
        try:
            said = self._client.run(node.lacking, sources, workers=[address])
            wanted = {name: sources[name] for name in said[address]}
            for sent in chunks(wanted):
                if self._ended:
                    return
                self._client.run(node.receive, sent, workers=[address])
        except (OSError, KeyError, TimeoutError):
            return

    def _is_up(self) -> bool:
        return not self._ended and self._client.status == "running" and self._nodes() > 0

    def _nodes(self) -> int:
        """Count the nodes; the scheduler is asked once a second by all threads together."""
        since, count = self._counted
        if time.monotonic() > since + 1:
            count = len(self._client.nthreads())
            self._counted = (time.monotonic(), count)
        return count

    def _good(self) -> list[str]:
        return [address for address in self._client.nthreads() if address not in self._bad]
