"""A Dask cluster of processes on this machine, as a user would start it by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import distributed

_QUIET = "--no-dashboard"


@dataclass(frozen=True)
class Cluster:
    """A scheduler with nodes.

    Attributes:
        address: ``host:port`` of the scheduler.
        scheduler: Its process.
        nodes: Processes, one single-threaded worker each; nobody starts them again.
    """

    address: str
    scheduler: subprocess.Popen[bytes]
    nodes: tuple[subprocess.Popen[bytes], ...]


@contextmanager
def cluster(folder: Path, nodes: int, preload: str = "") -> Iterator[Cluster]:
    """Start a scheduler and nodes; end them in the end.

    Args:
        folder: An empty one for their files; the nodes work in it, as on another machine.
        nodes: How many.
        preload: Python that each node runs first.
    """
    folder.mkdir(exist_ok=True)
    where = folder / "scheduler.json"
    with ExitStack() as stack:
        scheduler = stack.enter_context(
            _process(
                *("scheduler", "--host", "127.0.0.1", "--port", "0", _QUIET),
                *("--scheduler-file", str(where)),
                folder=folder,
            )
        )
        words = ["worker", "--scheduler-file", str(where), "--no-nanny", "--nthreads", "1", _QUIET]
        if preload:
            (folder / "first.py").write_text(preload)
            words += ["--preload", str(folder / "first.py")]
        started = tuple(
            stack.enter_context(
                _process(*words, "--local-directory", str(folder / f"node-{i}"), folder=folder)
            )
            for i in range(nodes)
        )
        with distributed.Client(scheduler_file=str(where), set_as_default=False) as client:
            if nodes:
                client.wait_for_workers(nodes, timeout=60)
            address = str(client.scheduler.address)
        yield Cluster(address.removeprefix("tcp://"), scheduler, started)


@contextmanager
def _process(kind: str, *words: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    log = (folder / f"{kind}.log").open("ab")
    # It works in another folder: what is importable here stays so.
    paths = os.pathsep.join(str(Path(path).resolve()) for path in sys.path)
    env = {**os.environ, "PYTHONPATH": paths}
    command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *words]
    with log, subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log) as process:
        try:
            yield process
        finally:
            process.kill()
