"""Who cleans a graph best: nodes, bytes and largest output difference by library.

Usage:
    python -m benchmarks.simplify MODEL [MODEL ...]

Prints a Markdown table; ``benchmarks/results/simplify.md`` keeps one. Each tool gets the same
model; the difference is on seeded random inputs. (ONNX Runtime folds BatchNorm itself when it
loads a model, hence the zeros.)
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxoptimizer
import onnxslim
from onnxscript import optimizer

from sprat.data.noise import Noise
from sprat.errors import SpratError
from sprat.graph.passes import quiet
from sprat.graph.simplify import simplify
from sprat.model.inspect import tensor_infos
from sprat.model.load import load
from sprat.model.session import Feeds, open_session, run


def _slim(model: onnx.ModelProto) -> onnx.ModelProto:
    with redirect_stdout(io.StringIO()):
        return onnxslim.slim(model, verbose=False)  # type: ignore[no-any-return]


TOOLS: dict[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
    "as it is": lambda model: model,
    "onnxslim": _slim,
    "onnxscript.optimizer": optimizer.optimize,
    "onnxoptimizer fuse_bn_into_conv": lambda model: onnxoptimizer.optimize(
        model, ["fuse_bn_into_conv"]
    ),
    "onnxoptimizer, its default passes": onnxoptimizer.optimize,
    "sprat simplify": lambda model: simplify(model).model,
}


def feeds(model: onnx.ModelProto) -> Feeds:
    """Return the first noise that the model takes."""
    for size in (1, 8, 64, 224):
        found = Noise(tensor_infos(model), (0, 1), dynamic=size).batch([0, 1])
        try:
            run(open_session(model), found)
        except SpratError:
            continue
        return found
    raise SystemExit("no random input fits the model")


def row(name: str, tool: Callable[[Any], Any], model: onnx.ModelProto) -> str:
    inputs = feeds(model)
    wanted = run(open_session(model), inputs)
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    try:
        found = tool(copy)
        got = run(open_session(found), inputs)
    except Exception as error:  # what the tool or the runtime says is the finding
        return f"| | {name} | | | {type(error).__name__} |"
    gaps = [got[k].astype(np.float64) - v.astype(np.float64) for k, v in wanted.items()]
    gap = max(float(np.abs(g).max()) for g in gaps)
    return f"| | {name} | {len(found.graph.node)} | {found.ByteSize():,} | {gap:.1e} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, nargs="+")
    options = parser.parse_args()
    quiet()
    print("| model | tool | nodes | bytes | largest difference |\n|---|---|---:|---:|---:|")
    for path in options.models:
        print(f"| {path.name} | | | | |")
        for name, tool in TOOLS.items():
            print(row(name, tool, load(path)), flush=True)


if __name__ == "__main__":
    main()
