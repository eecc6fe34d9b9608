"""Dead twins: models of the same form that have lost what the original does.

``python -m fuzz.twins --count 200 --seed 0`` makes networks of each kind of output with seeded
weights and samples, and for each of them twins that answer a constant, mix up the classes or shrink
a part of the output. The verdict on every one of them must be no, and on an honest twin, whose
weights are rounded a little, yes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sprat.model.load import save
from sprat.model.session import Outputs, open_session, run
from sprat.workflow.setting import open_setting
from sprat.workflow.verify import accuracy_checks

Array = NDArray[Any]
#: Name, type and shape.
_Output = tuple[str, int, list[int | str]]
KINDS = (
    *("logit", "classes", "labels", "sequence", "vector", "detector", "integers", "mask"),
    *("several", "mixed", "objectness"),
)
_SAMPLES, _DRAWN, _CHANNELS = 60, 400, 12
#: Channels in pixels of a head with four corners and five landmarks.
_PIXELS = 14
#: Samples that are nearer to another answer than this, in standard deviations, are left out: an
#: honest twin may answer them otherwise.
_MARGIN = 0.05


@dataclass(frozen=True)
class Case:
    """A network with samples.

    Attributes:
        kind: One of :data:`KINDS`.
        model: The original.
        data: Arrays of the npz: the input ``x`` and, for ``labels``, the classes.
    """

    kind: str
    model: onnx.ModelProto
    data: dict[str, Array]

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write model and samples; return their paths."""
        np.savez(folder / "data.npz", allow_pickle=False, **self.data)
        return save(self.model, folder / "model.onnx"), folder / "data.npz"


def case(kind: str, seed: int) -> Case:
    """Make a network of a kind of output with samples that it tells apart."""
    random = np.random.default_rng([KINDS.index(kind), seed])
    wide = 4 if kind == "sequence" else 8
    x = random.standard_normal((_DRAWN, 3, 8, wide)) + 2 * random.standard_normal((_DRAWN, 3, 1, 1))
    x = x.astype(np.float32)
    net = _Net(random, wide)
    net.trunk()
    heads: dict[str, list[Callable[[], _Output]]] = {
        "logit": [lambda: net.pooled("y", 1)],
        "classes": [lambda: net.pooled("y", net.classes)],
        "labels": [lambda: net.pooled("y", net.classes)],
        "sequence": [lambda: net.sequence("y")],
        "vector": [lambda: net.embedding("y")],
        "detector": [lambda: net.detector("y")],
        "integers": [lambda: net.argmax("y", pooled=True)],
        "mask": [lambda: net.argmax("y", pooled=False)],
        "several": [lambda: net.boxes("boxes"), lambda: net.scores("scores")],
        "objectness": [lambda: net.objectness("y")],
        "mixed": [lambda: net.embedding("features"), lambda: net.argmax("mask", pooled=False)],
    }
    for head in heads[kind]:
        net.outputs.append(head())
    net.centre(x)
    kept = net.sure(x)[:_SAMPLES]
    data: dict[str, Array] = {"x": x[kept]}
    if kind == "labels":
        outputs = run(open_session(net.model()), {"x": data["x"]})
        data["labels"] = outputs["y"].argmax(axis=1)
        wrong = random.choice(len(kept), len(kept) // 10, replace=False)
        data["labels"][wrong] = random.integers(0, net.classes, len(wrong))
    return Case(kind, net.model(), data)


class _Net:
    """Collects nodes and weights of one network."""

    def __init__(self, random: np.random.Generator, wide: int) -> None:
        self.random, self.wide = random, wide
        self.classes = int(random.integers(3, 8))
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, Array] = {}
        self.outputs: list[_Output] = []
        #: Scores whose mean is taken off, so that each class is the answer now and then.
        self.scores_at: dict[str, tuple[str, int]] = {}

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def weight(self, name: str, *shape: int) -> str:
        fan = max(1, int(np.prod(shape[1:])))
        values = self.random.standard_normal(shape) * np.sqrt(2 / fan)
        self.weights[name] = values.astype(np.float32)
        return name

    def trunk(self) -> None:
        self.node("Conv", ["x", self.weight("w0", _CHANNELS, 3, 3, 3)], "c0", pads=[1] * 4)
        self.node("Relu", ["c0"], "trunk")
        self.node("GlobalAveragePool", ["trunk"], "gap")
        self.node("Flatten", ["gap"], "flat")

    def linear(self, name: str, columns: int) -> str:
        self.weights[f"{name}.b"] = np.zeros(columns, np.float32)
        weight = self.weight(f"{name}.w", columns, _CHANNELS)
        return self.node("Gemm", ["flat", weight, f"{name}.b"], name, transB=1)

    def local(self, name: str, channels: int) -> str:
        self.weights[f"{name}.b"] = np.zeros(channels, np.float32)
        weight = self.weight(f"{name}.w", channels, _CHANNELS, 1, 1)
        return self.node("Conv", ["trunk", weight, f"{name}.b"], name)

    def pooled(self, name: str, columns: int) -> _Output:
        self.linear(name, columns)
        self.scores_at[name] = (f"{name}.b", 1)
        return name, TensorProto.FLOAT, ["n", columns]

    def embedding(self, name: str) -> _Output:
        self.node("Tanh", [self.linear(f"{name}.z", 24)], name)
        return name, TensorProto.FLOAT, ["n", 24]

    def sequence(self, name: str) -> _Output:
        self.node("ReduceMean", ["trunk"], f"{name}.m", axes=[2], keepdims=0)
        self.node("Transpose", [f"{name}.m"], f"{name}.t", perm=[0, 2, 1])
        weight = self.weight(f"{name}.w", _CHANNELS, self.classes)
        self.weights[f"{name}.b"] = np.zeros(self.classes, np.float32)
        self.node("MatMul", [f"{name}.t", weight], f"{name}.p")
        self.node("Add", [f"{name}.p", f"{name}.b"], f"{name}.z")
        self.scores_at[f"{name}.z"] = (f"{name}.b", 2)
        self.node("Softmax", [f"{name}.z"], name, axis=-1)
        return name, TensorProto.FLOAT, ["n", self.wide, self.classes]

    def boxes(self, name: str, channels: int = 4) -> _Output:
        self.local(f"{name}.c", channels)
        self.weights[f"{name}.size"] = np.array(30, np.float32)
        self.weights[f"{name}.at"] = np.array(320, np.float32)
        self.node("Mul", [f"{name}.c", f"{name}.size"], f"{name}.m")
        self.node("Add", [f"{name}.m", f"{name}.at"], f"{name}.a")
        return self._flat(f"{name}.a", name, channels)

    def scores(self, name: str) -> _Output:
        self.local(f"{name}.c", self.classes)
        self.weights[f"{name}.c.b"] -= 2
        self.node("Sigmoid", [f"{name}.c"], f"{name}.s")
        return self._flat(f"{name}.s", name, self.classes)

    def detector(self, name: str) -> _Output:
        self.boxes(f"{name}.boxes")
        self.scores(f"{name}.scores")
        self.node("Concat", [f"{name}.boxes", f"{name}.scores"], name, axis=1)
        return name, TensorProto.FLOAT, ["n", 4 + self.classes, 8 * self.wide]

    def objectness(self, name: str) -> _Output:
        """Boxes and landmarks in pixels, and one raw logit."""
        self.boxes(f"{name}.boxes", _PIXELS)
        self.local(f"{name}.c", 1)
        self._flat(f"{name}.c", f"{name}.scores", 1)
        self.node("Concat", [f"{name}.boxes", f"{name}.scores"], name, axis=1)
        return name, TensorProto.FLOAT, ["n", _PIXELS + 1, 8 * self.wide]

    def argmax(self, name: str, *, pooled: bool) -> _Output:
        scores = f"{name}.z"
        (self.linear if pooled else self.local)(scores, self.classes)
        self.scores_at[scores] = (f"{scores}.b", 1)
        self.node("ArgMax", [scores], name, axis=1, keepdims=0)
        return name, TensorProto.INT64, ["n"] if pooled else ["n", 8, self.wide]

    def _flat(self, x: str, name: str, channels: int) -> _Output:
        self.weights[f"{name}.shape"] = np.array([0, channels, 8 * self.wide])
        self.node("Reshape", [x, f"{name}.shape"], name)
        return name, TensorProto.FLOAT, ["n", channels, 8 * self.wide]

    def model(self, extra: tuple[str, ...] = ()) -> onnx.ModelProto:
        """Close the graph; ``extra`` are values that it gives beside its outputs."""
        value = helper.make_tensor_value_info
        outputs = [value(name, kind, shape) for name, kind, shape in self.outputs]
        outputs += [helper.make_empty_tensor_value_info(name) for name in extra]
        graph = helper.make_graph(
            self.nodes,
            "twin",
            [value("x", TensorProto.FLOAT, ["n", 3, 8, self.wide])],
            [o for i, o in enumerate(outputs) if o.name not in {p.name for p in outputs[:i]}],
            [numpy_helper.from_array(np.asarray(w), name) for name, w in self.weights.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def _inner(self, x: Array) -> Outputs:
        names = tuple(self.scores_at)
        return run(open_session(self.model(names)), {"x": x}, names) if names else {}

    def centre(self, x: Array) -> None:
        """Take each class's mean off its bias."""
        for name, values in self._inner(x).items():
            bias, axis = self.scores_at[name]
            others = tuple(i for i in range(values.ndim) if i != axis)
            self.weights[bias] = -values.mean(axis=others).astype(np.float32)

    def sure(self, x: Array) -> Array:
        """Return the samples of which no answer is near another one."""
        kept = np.ones(len(x), bool)
        for name, values in self._inner(x).items():
            if values.ndim > 3:  # a mask: some of its positions are always near
                continue
            ordered: Array = np.sort(np.moveaxis(values, self.scores_at[name][1], -1), axis=-1)
            two = ordered.shape[-1] > 1
            gap = ordered[..., -1] - ordered[..., -2] if two else np.abs(ordered)
            kept &= gap.reshape(len(x), -1).min(axis=1) > _MARGIN * float(np.std(ordered))
        return np.flatnonzero(kept)


def honest(found: Case, seed: int) -> onnx.ModelProto:
    """Return the model with weights that are a little off, as a fine quantization leaves them."""
    random = np.random.default_rng(seed)
    out = onnx.ModelProto()
    out.CopyFrom(found.model)
    for tensor in out.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.ndim > 1:
            off = random.uniform(-1, 1, values.shape) * np.abs(values).max() * 1e-3
            tensor.CopyFrom(numpy_helper.from_array((values + off).astype(np.float32), tensor.name))
    return out


def dead_twins(found: Case, seed: int) -> Iterator[tuple[str, onnx.ModelProto]]:
    """Yield twins by name, each of which has lost what the original does in one output.

    Args:
        found: The original with its samples.
        seed: Chooses the order of mixed-up classes and channels.
    """
    random = np.random.default_rng(seed)
    outputs = run(open_session(found.model), {"x": found.data["x"]})
    for name, values in outputs.items():
        pixels = _PIXELS if found.kind == "objectness" else 4
        for what, change in _changes(values, random, pixels):
            yield f"{what} in {name}", _changed(found.model, name, change)


def _changes(values: Array, random: np.random.Generator, pixels: int) -> Iterator[tuple[str, Any]]:
    """Yield changes of an output: a function from the builder and a value's name to another's.

    Args:
        values: ``[N, ...]`` the output.
        random: Chooses orders.
        pixels: Channels before the scores, of an output ``[N, C, positions]`` that has more.
    """
    if np.issubdtype(values.dtype, np.floating):
        yield "the mean", lambda add: add("Add", add("Sub", "", ""), values.mean(0, keepdims=True))
        yield "the first sample's answer", lambda add: add("Add", add("Sub", "", ""), values[:1])
        yield "nothing", lambda add: add("Sub", "", "")
        if values.shape[1:] == (1,):
            yield "the opposite", lambda add: add("Neg", "")
            return
        axis = values.ndim - 1 if _is_sequence(values) else 1
        order = _mixed(values.shape[axis], random)
        yield "mixed-up channels", lambda add: add("Gather", "", order, axis=axis)
        if values.ndim == 3 and not _is_sequence(values):
            small = np.ones((1, values.shape[1], 1), np.float32)
            small[:, -(values.shape[1] - pixels if values.shape[1] > pixels else 4) :] = 0.1
            yield "scores of a tenth", lambda add: add("Mul", "", small)
            yield "scores of 0", lambda add: add("Mul", "", np.where(small < 1, 0, small))
            shift = np.where(small < 1, 0, 1) if values.shape[1] > pixels else np.ones_like(small)
            far = (3 * shift * values.std(axis=0).mean()).astype(np.float32)
            yield "shifted boxes", lambda add: add("Add", "", far)
        return
    found = np.unique(values)
    yield "the commonest", lambda add: add("Add", add("Sub", "", ""), np.int64(_commonest(values)))
    yield "the first sample's answer", lambda add: add("Add", add("Sub", "", ""), values[:1])
    table = np.arange(found.max() + 1)
    table[found] = found[_mixed(len(found), random)]
    yield "mixed-up classes", lambda add: add("Gather", table, "")


def _is_sequence(values: Array) -> bool:
    return values.ndim == 3 and bool(np.allclose(values.sum(axis=-1), 1, atol=1e-3))


def _commonest(values: Array) -> int:
    found, counts = np.unique(values, return_counts=True)
    return int(found[counts.argmax()])


def _mixed(count: int, random: np.random.Generator) -> Array:
    """Return an order that leaves nothing at its place."""
    order = random.permutation(count)
    return np.asarray(order[np.argsort(np.roll(order, 1))] if count > 1 else order)


def _changed(model: onnx.ModelProto, output: str, change: Any) -> onnx.ModelProto:
    """Return a copy that has nodes between an output and what made it."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    inner = f"{output}.before"
    for node in out.graph.node:
        node.output[:] = [inner if name == output else name for name in node.output]
        node.input[:] = [inner if name == output else name for name in node.input]

    def add(operator: str, *inputs: Any, **attributes: Any) -> str:
        names = []
        for i, given in enumerate(inputs):
            if isinstance(given, str):
                names.append(given or inner)
                continue
            names.append(f"{output}.twin{len(out.graph.node)}.{i}")
            out.graph.initializer.append(numpy_helper.from_array(np.asarray(given), names[-1]))
        made = f"{output}.twin{len(out.graph.node)}"
        out.graph.node.append(helper.make_node(operator, names, [made], name=made, **attributes))
        return made

    out.graph.node.append(helper.make_node("Identity", [change(add)], [output]))
    onnx.checker.check_model(out)
    return out


def judge(found: Case, seed: int, folder: Path, max_drop: float = 1.0) -> list[str]:
    """Hold twins of a network against it.

    Args:
        found: The original with its samples.
        seed: Of the twins.
        folder: For model and samples.
        max_drop: The budget in points.

    Returns:
        What is wrong: dead twins that are believed, and an honest one that is not.
    """
    model, data = found.write(folder)
    reference = open_setting(model, data).reference

    def is_believed(twin: onnx.ModelProto) -> bool:
        return all(c.holds for c in accuracy_checks(reference, reference.evaluate(twin), max_drop))

    wrong = [what for what, twin in dead_twins(found, seed) if is_believed(twin)]
    return wrong if is_believed(honest(found, seed)) else [*wrong, "an honest twin is not believed"]


def main() -> int:
    """Return 0 where no dead twin was believed, and every honest one."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.twins", description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="networks")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    failed: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="sprat-twins-") as folder:
        for i in range(options.count):
            kind, seed = KINDS[i % len(KINDS)], options.seed + i // len(KINDS)
            for wrong in judge(case(kind, seed), seed, Path(folder)):
                print(f"FAILED: {kind} of seed {seed}: {wrong}")
                failed[kind] += 1
    print(f"{options.count} networks, {sum(failed.values())} failures {dict(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
