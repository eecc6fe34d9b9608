"""A search in which others take part gives the bytes of one that nobody helps."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import onnx
import pytest

from sprat.crew.crew import Crew
from sprat.crew.gather import gathered
from sprat.crew.parcels import Depot, MissingError, Shelf, chunks
from sprat.crew.workers import Workers
from sprat.data.options import read_options
from sprat.data.sets import ImageSet
from sprat.data.sources import Data, open_data
from sprat.errors import OptionError, OutputError
from sprat.evaluate import speed
from sprat.evaluate.predict import Answering, predict_all
from sprat.files import sha256_file
from sprat.model.inspect import tensor_infos
from sprat.model.load import load
from sprat.model.session import Outputs
from sprat.parallel import cores
from sprat.progress import Progress, silent
from sprat.quantization.rate_distortion.layers import find_layers
from sprat.quantization.rate_distortion.measure import shares
from sprat.record.schema import Run
from sprat.sealed import write_sealed
from sprat.spread import ALONE, Task
from sprat.workflow.budget import Budget
from sprat.workflow.optimize import optimize
from tests.clusters import Cluster, cluster

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "doodles"
MODEL = EXAMPLE / "doodles.onnx"
DATA = EXAMPLE / "data"
LIMIT = 24


@dataclass(frozen=True, eq=False)
class Square(Task[int, int]):
    """Yields squares and who made them; a negative number ends the process that is not this one.

    This process waits until another has begun an item, so that both have done some.
    """

    here: int
    mark: Path

    def __call__(self, item: int) -> Iterator[int]:
        if item < 0 and os.getpid() != self.here:
            os.kill(os.getpid(), signal.SIGKILL)
        meet(self.here, self.mark)
        if item == 13:
            raise ValueError("thirteen")
        yield item * item
        yield os.getpid() == self.here


@dataclass(frozen=True, eq=False)
class Together(Task[range, Outputs]):
    """Runs a model where this process waits until another has begun an item."""

    answering: Answering
    here: int
    mark: Path

    def __call__(self, item: range) -> Iterator[Outputs]:
        meet(self.here, self.mark)
        yield from self.answering(item)


def meet(here: int, mark: Path) -> None:
    if os.getpid() != here:
        mark.touch()
    for _ in range(6000):
        if mark.exists():
            return
        Event().wait(0.01)
    raise AssertionError("no other process begins")


def search(
    out: Path,
    workers: Workers | None = None,
    progress: Progress = silent,
) -> Run:
    budget = Budget(max_drop=5.0, minutes=60.0)
    return optimize(
        MODEL, DATA, out, budget=budget, limit=LIMIT, workers=workers, progress=progress
    )


@pytest.fixture(autouse=True, scope="module")
def hurried() -> Iterator[None]:
    """Speeds are of no matter here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "_BLOCK_SECONDS", 0.002)
        yield


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    out = tmp_path_factory.mktemp("alone")
    return out, search(out)


@pytest.fixture(scope="module")
def data() -> Data:
    options = read_options(MODEL, DATA)
    return open_data(DATA, tensor_infos(load(MODEL)), options=options, limit=40)


@pytest.fixture
def two_nodes(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "cluster", 2) as found:
        yield found


def check(alone: tuple[Path, Run], out: Path, run: Run, parties: int) -> None:
    """Hold a search with helpers against the one without."""
    assert (out / "model.onnx").read_bytes() == (alone[0] / "model.onnx").read_bytes()
    assert [(c.name, c.sha256, c.evaluation) for c in run.candidates] == [
        (c.name, c.sha256, c.evaluation) for c in alone[1].candidates
    ]
    assert run.choice.test == alone[1].choice.test
    assert run.options["parties"] == parties
    assert not (out / ".work/crew").exists()


def test_two_processes_give_the_bytes_of_one(alone: tuple[Path, Run], tmp_path: Path) -> None:
    words = ["optimize", MODEL, "--data", DATA, "--out", tmp_path / "out", "--limit", LIMIT]
    more = ["--max-drop", 5, "--minutes", 60, "--workers", "local:2", "--json"]
    mark = f"SPRAT_TEST={tmp_path}"
    done = subprocess.run(
        [sys.executable, "-m", "sprat", *map(str, (*words, *more))],
        env={**os.environ, "SPRAT_TEST": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    check(alone, tmp_path / "out", Run.model_validate_json(done.stdout), 2)
    while [p for p in Path("/proc").glob("[0-9]*/environ") if mark in _text(p)]:
        Event().wait(0.01)  # who is left behind hangs the test


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:  # it has ended since
        return ""


def test_a_node_that_is_killed_loses_nothing(
    alone: tuple[Path, Run], two_nodes: Cluster, tmp_path: Path
) -> None:
    killed: list[str] = []

    def progress(stage: str, done: float, total: float) -> None:
        if stage.startswith("measuring each layer") and not killed:
            killed.append(stage)
            two_nodes.nodes[0].kill()

    run = search(tmp_path / "out", Workers(scheduler=two_nodes.address), progress)
    assert killed
    check(alone, tmp_path / "out", run, 3)
    assert two_nodes.nodes[1].poll() is None


def test_items_come_in_order_whoever_did_them(two_nodes: Cluster, tmp_path: Path) -> None:
    with gathered(Workers(scheduler=two_nodes.address), tmp_path / "crew", silent) as spread:
        task = Square(os.getpid(), tmp_path / "mark")
        items = list(range(14, 400))
        found = list(spread.flat(task, items))
        assert found[::2] == [i * i for i in items]
        assert found[1] == 1  # the first was this process's own
        assert 0 < sum(found[1::2]) < len(items)
        # What fails on a node fails here, with its own words.
        with pytest.raises(ValueError, match="thirteen"):
            list(spread.flat(task, [1, 13, 2]))
        # What kills nodes is done here, when there is none left.
        assert list(spread.flat(task, [-1, -2, -3, -4]))[::2] == [1, 4, 9, 16]
        assert list(spread.flat(task, [5, 6]))[::2] == [25, 36]


def test_what_goes_wrong_on_nodes_is_told(two_nodes: Cluster, tmp_path: Path) -> None:
    with gathered(Workers(scheduler=two_nodes.address), tmp_path / "crew", silent) as spread:
        task = Square(os.getpid(), tmp_path / "mark")
        ahead = spread.ahead(Square(-1, tmp_path / "mark"), [13], urgent=True)
        assert list(spread.flat(task, range(1, 12)))[::2] == [i * i for i in range(1, 12)]
        assert ahead.take(13) is None
        assert all("ValueError: thirteen" in note for note in spread.notes)
        assert spread.notes


def test_who_has_no_certificate_is_not_let_in(tmp_path: Path) -> None:
    """Any user of this machine reaches the port of local:N; a scheduler runs what it is sent."""
    from distributed import Client
    from distributed.security import Security

    with gathered(Workers(local=2), tmp_path / "crew", silent) as spread:
        assert isinstance(spread, Crew)
        place = spread.address.rpartition("/")[2]
        for scheme, security in (("tcp", None), ("tls", Security.temporary())):
            with pytest.raises(OSError):
                Client(f"{scheme}://{place}", security=security, timeout=3, set_as_default=False)
        task = Square(os.getpid(), tmp_path / "mark")
        assert list(spread.flat(task, range(1, 6)))[::2] == [i * i for i in range(1, 6)]


def test_nothing_is_left_in_the_environment(tmp_path: Path) -> None:
    before = dict(os.environ)
    with gathered(Workers(local=2), tmp_path / "crew", silent) as spread:
        with spread.resting():
            assert os.environ.get("SPRAT_THREADS") == before.get("SPRAT_THREADS")
        assert os.environ["SPRAT_THREADS"] == str(max(1, cores() // 2))
    assert dict(os.environ) == before
    write_sealed(tmp_path / "crew/owner", b"")
    with gathered(None, tmp_path / "crew", silent):  # what a killed run left
        assert not (tmp_path / "crew").exists()


def test_a_scheduler_that_vanishes_takes_nothing_along(two_nodes: Cluster, tmp_path: Path) -> None:
    with gathered(Workers(scheduler=two_nodes.address), tmp_path / "crew", silent) as spread:
        found = spread.flat(Square(os.getpid(), tmp_path / "mark"), list(range(14, 400)))
        begun = [next(found) for _ in range(20)]
        two_nodes.scheduler.kill()
        rest = list(found)
    assert (begun + rest)[::2] == [i * i for i in range(14, 400)]


FAR_AWAY = """
from sprat.crew.parcels import Shelf
if not hasattr(Shelf, "near"):  # Dask runs this twice
    Shelf.near = Shelf.find
    Shelf.find = lambda self, name, path: self.near(name, None)
"""


def test_nodes_that_share_no_folder_are_sent_each_file_once(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = predict_all(load(MODEL), data.val, 2)
    sent: list[str] = []

    def counted(sources: dict[str, Path]) -> Iterator[Any]:
        sent.extend(sources)
        return chunks(sources)

    monkeypatch.setattr("sprat.crew.crew.chunks", counted)
    with (
        cluster(tmp_path / "cluster", 1, FAR_AWAY) as found,
        gathered(Workers(scheduler=found.address), tmp_path / "crew", silent) as spread,
    ):
        for turn in range(3):
            task = Together(Answering(load(MODEL), data.val, 2), os.getpid(), tmp_path / f"{turn}")
            parts = spread.flat(task, [range(i, i + 2) for i in range(0, 20, 2)])
            outputs = np.concatenate([part["output"] for part in parts])
            assert (outputs == wanted["output"]).all()
        assert len(sent) == len(set(sent)) > len(data.val.samples)
        assert spread.notes == ()
        assert {s.digest for s in data.val.samples} < set(sent)
        assert len(list((tmp_path / "cluster").rglob(sent[0]))) == 1


def test_images_travel_by_their_content(data: Data, tmp_path: Path) -> None:
    depot, shelf = Depot(tmp_path / "depot"), Shelf(tmp_path / "shelf")
    name = depot.pack(Answering(load(MODEL), data.val, 4))
    sources = depot.sources(name)
    assert shelf.lacking(sources) == []  # the same machine: all is read where it lies
    moved = {key: tmp_path / "elsewhere" / key for key in sources}
    assert set(shelf.lacking(moved)) == set(sources)
    with pytest.raises(MissingError):
        shelf.unpack(name, tmp_path / "elsewhere")
    for some in chunks(sources):
        shelf.receive(some)
    depot.close()
    assert shelf.lacking(moved) == []
    task: Task[range, Outputs] = shelf.unpack(name, tmp_path / "elsewhere")
    assert isinstance(task, Answering)
    assert isinstance(task.dataset, ImageSet)
    assert {s.path.parent for s in task.dataset.samples if s.path} != {tmp_path}
    assert task.dataset.digest == data.val.digest
    mine = Answering(load(MODEL), data.val, 4)(range(2))
    for here, there in zip(mine, task(range(2)), strict=True):
        assert (here["output"] == there["output"]).all()


def test_a_file_that_was_changed_is_not_taken(tmp_path: Path) -> None:
    depot, shelf = Depot(tmp_path / "depot"), Shelf(tmp_path / "shelf")
    name = depot.keep(b"x" * 100_000)
    assert shelf.find(name, depot.folder / name).read_bytes() == b"x" * 100_000
    (depot.folder / name).write_bytes(b"y" * 100_000)
    with pytest.raises(MissingError):
        shelf.find(name, depot.folder / name)


def test_chunks_make_whole_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sprat.crew.parcels._CHUNK", 1000)
    depot, shelf = Depot(tmp_path / "depot"), Shelf(tmp_path / "shelf")
    sizes = (0, 1, 999, 1000, 1001, 5000)
    names = [depot.keep(os.urandom(size)) for size in sizes]
    sources = {name: depot.folder / name for name in names}
    for some in chunks(sources):
        assert sum(len(content) for _, _, content, _ in some) <= 1000
        shelf.receive(some)
    for name in names:
        assert sha256_file(shelf.find(name, None)) == name


def test_shares_hold_each_layer_once() -> None:
    layers = find_layers(onnx.load(MODEL))
    for parties in (1, 2, 3, 100):
        dealt = shares(layers, parties)
        assert sorted(i for share in dealt for i in share) == list(range(len(layers)))
        assert all(list(share) == sorted(share) for share in dealt)
        assert len(dealt) == min(parties, len(layers))
    assert shares(layers, 1) == [tuple(range(len(layers)))]


def test_alone_there_is_one_piece_and_nothing_ahead() -> None:
    assert ALONE.pieces(7, 2) == [range(7)]
    task = Square(os.getpid(), Path(__file__))
    assert ALONE.ahead(task, [1]).take(1) is None
    assert list(ALONE.flat(task, [2, 3]))[::2] == [4, 9]


@pytest.mark.parametrize(
    "text",
    ["", "2", "local:0", "local:-1", "local:two", "ray://host:1", "dask://host", "dask://:1"],
)
def test_what_is_no_crew(text: str) -> None:
    with pytest.raises(OptionError, match="local:N or dask://host:port"):
        Workers.parse(text)


def test_a_crew_by_its_words() -> None:
    assert Workers.parse("local:4") == Workers(local=4)
    assert Workers.parse("dask://10.0.0.1:8786") == Workers(scheduler="10.0.0.1:8786")
    with gathered(Workers.parse("local:1"), Path("nowhere"), silent) as spread:
        assert spread is ALONE


def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sprat.crew.gather._PATIENCE", 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: nobody else can take it
        port = taken.getsockname()[1]
        with pytest.raises(OptionError, match="no Dask scheduler answers") as caught:
            search(tmp_path / "out", Workers(scheduler=f"127.0.0.1:{port}"))
    assert caught.value.exit_code == 2


def test_a_scheduler_without_nodes(tmp_path: Path) -> None:
    with (
        cluster(tmp_path / "none", 0) as empty,
        pytest.raises(OptionError, match=r"has no nodes.*dask worker") as caught,
    ):
        search(tmp_path / "out", Workers(scheduler=empty.address))
    assert caught.value.exit_code == 2


def test_a_depot_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    depot = Depot(tmp_path / "file" / "below")
    with pytest.raises(OutputError, match=r"below.*: cannot be written .Not a directory"):
        depot.keep(b"content")


@pytest.mark.parametrize(
    ("preload", "said"),
    [
        (
            "from sprat.crew import node; node.version = lambda _: '9.9'",
            r"has sprat 9\.9 for ",
        ),
        (
            "from sprat.crew import node; node._arithmetic = lambda: 'other'",
            "another kind of processor",
        ),
        ("import sys; sys.modules['sprat'] = None", "cannot run Sprat"),
    ],
)
def test_nodes_that_would_give_other_bytes(tmp_path: Path, preload: str, said: str) -> None:
    with cluster(tmp_path / "cluster", 1, preload) as found:
        workers = Workers(scheduler=found.address)
        with pytest.raises(OptionError, match=said), gathered(workers, tmp_path / "crew", silent):
            raise AssertionError("taken")
    assert not (tmp_path / "crew").exists()


def test_without_distributed_it_says_what_to_install(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['distributed'] = None; "
        "from sprat.cli import main; sys.argv[0] = 'sprat'; main()"
    )
    words = ["optimize", MODEL, "--data", DATA, "--out", tmp_path, "--workers", "local:2"]
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "pip install '.[scale]'" in done.stderr
