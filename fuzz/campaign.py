"""Many mutants on several processes: what dies or hangs is found, kept, and does not end it."""

from __future__ import annotations

import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

from fuzz.targets import Range
from sprat.model import session

#: Seconds for one mutant, and bytes of data of a process that tries them.
LONGEST = 30.0
MOST_BYTES = 4 << 30


@dataclass
class Tally:
    """What became of the mutants.

    Attributes:
        ends: By target and end: how many.
        failures: Mutant's index to what went wrong.
        crashes: Mutant's index to how native code died; each is contained by the command line.
        slowest: Seconds of the slowest mutant, and its index.
    """

    ends: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: dict[int, str] = field(default_factory=dict)
    crashes: dict[int, str] = field(default_factory=dict)
    slowest: tuple[float, int] = (0.0, -1)

    def add(self, index: int, found: dict[str, str], seconds: float) -> None:
        """Count one mutant."""
        for target, end in found.items():
            self.ends[target, end.partition(":")[0]] += 1
            if end.startswith("FAILED"):
                self.failures[index] = f"{target}: {end}"
        self.slowest = max(self.slowest, (seconds, index))


def campaign(
    count: int, seed: int, targets: Sequence[str], *, first: int = 0, processes: int = 1
) -> Tally:
    """Try mutants ``first`` to ``first + count``.

    Args:
        count: How many.
        seed: Seed of the campaign.
        targets: Keys of :data:`fuzz.targets.TARGETS`.
        first: Index of the first.
        processes: How many at once.

    Returns:
        What became of them.
    """
    tally = Tally()
    lanes = [
        _Lane(seed, targets, list(range(first + i, first + count, processes)))
        for i in range(min(processes, count))
    ]
    while any(lane.process for lane in lanes):
        ready = wait([lane.pipe for lane in lanes if lane.process], timeout=1.0)
        for lane in lanes:
            if lane.process:
                lane.hear(tally, lane.pipe in ready)
    return tally


class _Lane:
    """One process and the mutants that it still has to try."""

    def __init__(self, seed: int, targets: Sequence[str], waiting: list[int]) -> None:
        self._seed, self._targets, self._waiting = seed, targets, waiting
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe(duplex=False)
        self.process: multiprocessing.process.BaseProcess | None = context.Process(
            target=_work, args=(theirs, self._seed, self._targets, self._waiting), daemon=True
        )
        self.process.start()
        theirs.close()
        self._since = float("inf")

    def hear(self, tally: Tally, ready: bool) -> None:
        """Take one report, or find that the process hangs or is dead."""
        if not ready:
            if time.monotonic() - self._since > LONGEST:
                self._end(tally, f"hangs: over {LONGEST:g} s")
            return
        try:
            found, seconds = self.pipe.recv()
        except EOFError:
            self._end(tally, "")
            return
        if found:
            tally.add(self._waiting.pop(0), found, seconds)
        self._since = time.monotonic()
        if not self._waiting:
            self._stop()

    def _stop(self) -> int:
        assert self.process is not None
        self.process.join(0 if self._waiting else LONGEST)
        self.process.kill()
        self.process.join()
        code = self.process.exitcode
        self.process = None
        return -1 if code is None else code

    def _end(self, tally: Tally, hung: str) -> None:
        """Note the mutant under way, and go on behind it in a new process."""
        code = self._stop()
        index = self._waiting.pop(0)
        if hung:
            tally.failures[index] = hung
        else:
            tally.crashes[index] = f"ended with {code}"
        tally.ends["process", "hung" if hung else "died"] += 1
        if self._waiting:
            self._start()


def _work(pipe: Connection, seed: int, targets: Sequence[str], indices: list[int]) -> None:
    """Try mutants and report each: an empty report says that the first one begins."""
    _bounded()
    with tempfile.TemporaryDirectory(prefix="sprat-fuzz-") as folder:
        place = Range(Path(folder), seed)
        pipe.send(({}, 0.0))
        for index in indices:
            start = time.perf_counter()
            found = place.attempt(index, targets)
            pipe.send((found, time.perf_counter() - start))


def _bounded() -> None:
    """Bound this process's memory, and keep native libraries from this screen and disk."""
    session.LONGEST_RUN = 3.0  # so that loops without end do not eat the campaign
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)


def contained(index: int, seed: int, target: str) -> str:
    """Give a mutant that killed a process to the real command; return what is wrong, or nothing."""
    words = {"inspect": [], "simplify": ["-o", "out.onnx"]}
    with tempfile.TemporaryDirectory(prefix="sprat-fuzz-") as folder:
        place = Range(Path(folder), seed)
        data = place.place(index)
        optimize = ["--data", str(data), "--out", "out", "--dry-run"]
        command = [sys.executable, "-m", "sprat", target, str(place.model)]
        done = subprocess.run(
            [*command, *words.get(target, optimize)],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=_bounded_memory,
        )
    if done.returncode in (0, 1, 2, 3) and done.stderr.count("Error: ") <= 1:
        return ""
    return f"{target}: exit code {done.returncode}: {done.stderr[-300:]!r}"


def _bounded_memory() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
