"""What a node does: it fetches a task once, and carries out items of it.

Everything here runs in the process of a Dask worker; the main process calls it by name.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from threadpoolctl import threadpool_limits

from sprat.crew.parcels import Chunk, MissingError, Shelf
from sprat.model.session import Feeds, open_session, run
from sprat.record.versions import versions
from sprat.spread import Task

#: Tasks that are kept open: their sessions take memory, opening them takes time.
_OPEN = 6


@dataclass(frozen=True)
class Done:
    """What an item yielded."""

    values: list[Any]


@dataclass(frozen=True)
class Lacking:
    """The node whose address this is cannot read all that the task needs."""

    node: str


@dataclass(frozen=True)
class Failed:
    """What went wrong on the node whose address this is; the main process will see for itself."""

    node: str
    reason: str


@cache
def about() -> dict[str, str]:
    """Return the versions of a node, and a hash of how it computes.

    The same versions give other bits on another kind of processor: the hash is of a convolution
    and an integer product by ONNX Runtime (the latter saturates on some), and a factorization by
    LAPACK, all of which choose their code by it.
    """
    return {"sprat": version("sprat"), **versions(), "arithmetic": _arithmetic()}


@cache
def _arithmetic() -> str:
    import scipy.linalg

    draw = np.random.default_rng(0)
    weight = numpy_helper.from_array(draw.random((32, 16, 3, 3), np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Softmax", ["c"], ["y"], axis=1),
        helper.make_node("MatMulInteger", ["u", "s"], ["i"]),
    ]
    graph = helper.make_graph(
        nodes,
        "arithmetic",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16, 16, 16]),
            helper.make_tensor_value_info("u", TensorProto.UINT8, [8, 64]),
        ],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("i", TensorProto.INT32, None),
        ],
        [weight, numpy_helper.from_array(draw.integers(100, 128, (64, 8), np.int8), "s")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    feeds: Feeds = {
        "x": draw.random((1, 16, 16, 16), np.float32),
        "u": np.full((8, 64), 255, np.uint8),
    }
    found = run(open_session(model), feeds)
    with threadpool_limits(limits=1):
        rows = draw.random((300, 200))
        factor = scipy.linalg.cholesky(rows.T @ rows)
    bits = found["y"].tobytes() + found["i"].tobytes() + factor.tobytes()
    return hashlib.sha256(bits).hexdigest()[:16]


def work(agreed: dict[str, str], place: str, name: str, item: Any) -> Done | Lacking | Failed:
    """Carry out an item of a task.

    Args:
        agreed: What :func:`about` must say here; a node that came later may be another.
        place: The depot's folder.
        name: Of the task in it.
        item: The item.

    Returns:
        What it yielded, or why there is nothing: no error is raised here.
    """
    from distributed import get_worker

    node = get_worker()
    if about() != agreed:
        return Failed(node.address, "other versions, or another kind of processor")
    try:
        task = _crate(node.local_directory).task(name, Path(place))
        with threadpool_limits(limits=1):
            return Done(list(task(item)))
    except MissingError:
        return Lacking(node.address)
    except Exception as error:  # whatever it is, the main process meets it, too, and says so
        return Failed(node.address, f"{type(error).__name__}: {error}")


def lacking(sources: dict[str, Path], dask_worker: Any = None) -> list[str]:
    """Return which of some files a node cannot read; Dask names the worker."""
    return _crate(dask_worker.local_directory).shelf.lacking(sources)


def receive(sent: list[Chunk], dask_worker: Any = None) -> None:
    """Write what a node was sent; Dask names the worker."""
    _crate(dask_worker.local_directory).shelf.receive(sent)


class _Crate:
    """A node's files, and the tasks that it has open."""

    def __init__(self, folder: Path) -> None:
        self.shelf = Shelf(folder)
        self._tasks: OrderedDict[str, Task[Any, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def task(self, name: str, place: Path) -> Task[Any, Any]:
        with self._lock:
            if name not in self._tasks:
                self._tasks[name] = self.shelf.unpack(name, place)
            self._tasks.move_to_end(name)
            while len(self._tasks) > _OPEN:
                self._tasks.popitem(last=False)
            return self._tasks[name]


@cache
def _crate(folder: str) -> _Crate:
    return _Crate(Path(folder) / "sprat")
