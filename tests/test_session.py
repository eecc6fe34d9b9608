"""One run of a model has a limit in time; a process that was stopped does not use it up."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from sprat.errors import EndlessModelError
from sprat.model import session
from sprat.model.session import Feeds, open_session, run


def looping(trips: int) -> onnx.ModelProto:
    """Add 1 to ``x`` so many times."""
    value = helper.make_tensor_value_info("inner", TensorProto.FLOAT, [1, 256])
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["going"]),
            helper.make_node("Add", ["inner", "one"], ["added"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("trip", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            value,
        ],
        [
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("added", TensorProto.FLOAT, [1, 256]),
        ],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["trips", "", "x"], ["y"], body=body)],
        "looping",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 256])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 256])],
        [
            helper.make_tensor("trips", TensorProto.INT64, [], [trips]),
            helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


FEEDS: Feeds = {"x": np.zeros((1, 256), np.float32)}


def test_a_run_without_end_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "LONGEST_RUN", 0.5)
    endless = open_session(looping(2**62))
    with pytest.raises(EndlessModelError, match=r"float32\[1, 256\] takes more than 0.5 s"):
        run(endless, FEEDS)
    assert run(open_session(looping(3)), FEEDS)["y"].max() == 3  # the next run has its own time


CHILD = """
import sys, time
import numpy as np
from sprat.model import session

session.LONGEST_RUN = 5.0
opened = session.open_session(__import__("onnx").load(sys.argv[1]))
run = session.run
print("running", flush=True)
print(run(opened, {"x": np.zeros((1, 256), np.float32)})["y"].max(), flush=True)
"""


def test_a_stopped_process_does_not_use_up_its_time(tmp_path: Path) -> None:
    path = tmp_path / "looping.onnx"
    trips = 300_000  # a part of a second
    onnx.save(looping(trips), path)
    command = [sys.executable, "-c", CHILD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "running\n"
        os.kill(child.pid, signal.SIGSTOP)
        time.sleep(6)  # longer than a run may take: that is what is tested
        os.kill(child.pid, signal.SIGCONT)
        assert float(child.stdout.readline()) == trips
