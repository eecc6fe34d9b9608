"""Call a crew together, and let it go."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sprat.crew import node
from sprat.crew.crew import Crew
from sprat.crew.extra import require
from sprat.crew.parcels import Depot
from sprat.crew.workers import Workers
from sprat.errors import OptionError, OutputError
from sprat.files import check_own, is_there
from sprat.parallel import cores, cores_set
from sprat.progress import Progress
from sprat.sealed import key_is_kept, read_sealed, write_sealed
from sprat.spread import ALONE, Spread
from sprat.state import state_folder

if TYPE_CHECKING:
    from distributed import Client

#: Seconds for a scheduler to answer, and for all to say good-bye.
_PATIENCE = 10
#: Says that a folder is Sprat's as a whole.
_OWNER = "owner"
_SAME = "Install the same versions of Sprat and its packages on every node."


@contextmanager
def gathered(workers: Workers | None, folder: Path, progress: Progress) -> Iterator[Spread]:
    """Have others take part while inside.

    Args:
        workers: Who; None for nobody.
        folder: For what nodes fetch; it is made, and removed in the end.
        progress: Told while this process waits for a node.

    Yields:
        What carries out tasks.

    Raises:
        OptionError: The scheduler cannot be reached or has no nodes, or a node has other versions
            or another kind of processor.
        OutputError: The folder holds something that is not Sprat's.
        PackageMissingError: ``distributed`` is not installed.
    """
    if workers is None or workers == Workers():
        if read_sealed(folder / _OWNER) is not None:
            shutil.rmtree(folder, ignore_errors=True)  # of a killed run that had some
        yield ALONE
        return
    require()
    _claim(folder)
    depot, threads = Depot(folder / "parcels"), os.environ.get("SPRAT_THREADS")
    try:
        with _quiet(), _client(workers, depot.folder) as client:
            _examine(client)
            crew = Crew(client, depot, progress, threads)
            try:
                yield crew
            finally:
                crew.close()
    finally:
        depot.close()
        shutil.rmtree(folder, ignore_errors=True)


def _claim(folder: Path) -> None:
    """Make a folder whose whole content is Sprat's, and which may be removed as a whole."""
    check_own(folder)
    if read_sealed(folder / _OWNER) is not None:
        shutil.rmtree(folder, ignore_errors=True)
    if is_there(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(
            "holds something that is not Sprat's.", where=str(folder), hint=_advice(folder)
        )
    write_sealed(folder / _OWNER, b"")


def _advice(folder: Path) -> str:
    if key_is_kept():
        return "Move it away."
    place = state_folder()
    where = f" in {place}" if place is not None else ": this user has no home"
    return (
        f"The key that marks what is Sprat's cannot be kept{where}. Where a killed run left "
        f"{folder.name}, remove it."
    )


@contextmanager
def _client(workers: Workers, folder: Path) -> Iterator[Client]:
    from distributed import Client, LocalCluster
    from distributed.security import Security

    if workers.scheduler:
        with _reached(workers.scheduler) as client:
            yield client
        return
    # This process is one of them. Loopback alone, no dashboard, and no limit of memory below
    # that of the machine, which the command line sets already. Whoever reaches a scheduler runs
    # code as its user, other users of this machine too: only who holds the certificate, which
    # lives in these processes' memory, is let in.
    security = Security.temporary()
    with (
        _environment_kept(),
        cores_set(str(max(1, cores() // workers.local))),
        LocalCluster(
            n_workers=workers.local - 1,
            threads_per_worker=1,
            processes=True,
            protocol="tls",
            security=security,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # the usual port may be taken
            memory_limit=None,
            silence_logs=logging.CRITICAL,
            local_directory=str(folder),
        ) as cluster,
        Client(cluster, security=security, set_as_default=False) as client,
    ):
        yield client


@contextmanager
def _reached(scheduler: str) -> Iterator[Client]:
    from distributed import Client
    from distributed.security import Security

    try:
        security = Security()  # of Dask's own configuration: certificates of a cluster with TLS
        scheme = "tls" if security.get_tls_config_for_role("client").get("ca_file") else "tcp"
        client = Client(
            f"{scheme}://{scheduler}", security=security, timeout=_PATIENCE, set_as_default=False
        )
    except (OSError, TimeoutError, ValueError) as error:
        raise OptionError(
            f"no Dask scheduler answers at {scheduler} within {_PATIENCE} s.",
            where="--workers",
            hint="Start one with 'dask scheduler', and nodes with 'dask worker'.",
        ) from error
    with client:
        if not client.nthreads():
            raise OptionError(
                f"the scheduler at {scheduler} has no nodes.",
                where="--workers",
                hint="Start some with 'dask worker tcp://HOST:PORT --nthreads 1'.",
            )
        yield client


def _examine(client: Client) -> None:
    """Refuse nodes that would compute other bits."""
    mine = node.about()
    found = client.run(node.about, on_error="return")
    for address, theirs in sorted(found.items()):
        if isinstance(theirs, BaseException):
            raise OptionError(
                f"the node {address} cannot run Sprat: {type(theirs).__name__}: {theirs}",
                where="--workers",
                hint=_SAME,
            )
        other = [f"{k} {theirs.get(k)} for {v}" for k, v in mine.items() if theirs.get(k) != v]
        if other == [f"arithmetic {theirs.get('arithmetic')} for {mine['arithmetic']}"]:
            raise OptionError(
                f"the node {address} has another kind of processor, which gives other bits.",
                where="--workers",
                hint="Take nodes of one kind, and begin the command on one of them.",
            )
        if other:
            raise OptionError(
                f"the node {address} has {', '.join(other)}.", where="--workers", hint=_SAME
            )


@contextmanager
def _environment_kept() -> Iterator[None]:
    """Take back what Dask says to libraries for the processes that it starts: threads, memory."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's log to itself: a node that dies is no news, the search goes on."""
    import distributed  # noqa: F401 - it gives its loggers levels of their own

    names = [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]
    before = {log: log.level for log in map(logging.getLogger, names) if log.level}
    for log in before:
        log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for log, level in before.items():
            log.setLevel(level)
