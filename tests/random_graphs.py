"""Small random networks of convolutions, pools, pads and broadcasts, always the same by seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Grower:
    """Adds nodes to a graph, knowing every value's shape."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, Any] = {}
        self.values: list[tuple[str, tuple[int, ...]]] = []

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        fan = max(1.0, float(np.prod(shape[1:]))) if len(shape) > 2 else 1.0
        values = self.random.standard_normal(shape) / fan**0.5
        self.weights[name] = values.astype(np.float32)
        return name

    def ints(self, *values: int) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = np.array(values, np.int64)
        return name

    def add(self, op: str, inputs: list[str], shape: tuple[int, ...], **attributes: Any) -> None:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        self.values.append((name, shape))

    def pick(self, low: int, high: int) -> int:
        return int(self.random.integers(low, high + 1))

    def conv(self, name: str, shape: tuple[int, ...]) -> None:
        _, c, h, w = shape
        group = int(self.random.choice([g for g in (1, 1, 2, c) if c % g == 0]))
        out = group * self.pick(1, max(1, 12 // group))
        kernel = [self.pick(1, min(4, h)), self.pick(1, min(4, w))]
        dilations = [
            self.pick(1, 2) if (k - 1) * 2 < s else 1 for k, s in zip(kernel, (h, w), strict=True)
        ]
        strides = [self.pick(1, 3), self.pick(1, 3)]
        pads = [self.pick(0, 2) for _ in range(4)]
        size = tuple(
            (s + pads[i] + pads[i + 2] - (k - 1) * d - 1) // t + 1
            for i, (s, k, d, t) in enumerate(zip((h, w), kernel, dilations, strides, strict=True))
        )
        inputs = [name, self.weight(out, c // group, *kernel)]
        inputs += [self.weight(out)] if self.pick(0, 1) else []
        self.add(
            "Conv",
            inputs,
            (1, out, *size),
            group=group,
            strides=strides,
            pads=pads,
            dilations=dilations,
        )

    def norm(self, name: str, shape: tuple[int, ...]) -> None:
        c = shape[1]
        rest = [self.weight(c), self.weight(c), self.weight(c), self.weight(c)]
        self.weights[rest[3]] = np.abs(self.weights[rest[3]]) + 0.5
        self.add("BatchNormalization", [name, *rest], shape)

    def pool(self, name: str, shape: tuple[int, ...]) -> None:
        n, c, h, w = shape
        kernel = [self.pick(1, min(3, h)), self.pick(1, min(3, w))]
        strides = [self.pick(1, 2), self.pick(1, 2)]
        pads = [self.pick(0, (k - 1) // 2) for k in kernel] * 2
        ceil = self.pick(0, 1)
        size = []
        for i, (s, k, t) in enumerate(zip((h, w), kernel, strides, strict=True)):
            span = s + 2 * pads[i] - k
            count = (-(-span // t) if ceil else span // t) + 1
            size.append(count - (1 if ceil and (count - 1) * t >= s + pads[i] else 0))
        more = {"count_include_pad": self.pick(0, 1)} if self.pick(0, 1) else {}
        op = "AveragePool" if more else "MaxPool"
        self.add(
            op,
            [name],
            (n, c, *size),
            kernel_shape=kernel,
            strides=strides,
            pads=pads,
            ceil_mode=ceil,
            **more,
        )

    def pad(self, name: str, shape: tuple[int, ...]) -> None:
        mode = str(self.random.choice(["constant", "edge", "reflect"]))
        most = 2 if mode != "reflect" else min(2, shape[2] - 1, shape[3] - 1)
        sides = [self.pick(0, most) for _ in range(4)]
        pads = [0, 0, sides[0], sides[1], 0, 0, sides[2], sides[3]]
        new = (*shape[:2], shape[2] + sides[0] + sides[2], shape[3] + sides[1] + sides[3])
        self.add("Pad", [name, self.ints(*pads)], new, mode=mode)

    def broadcast(self, name: str, shape: tuple[int, ...]) -> None:
        same = [v for v, s in self.values if s == shape and v != name]
        if same and self.pick(0, 1):
            other = str(self.random.choice(same))
        else:
            small = tuple(s if self.pick(0, 1) else 1 for s in shape)
            other = self.weight(*small[self.pick(0, 3) :])
        op = str(self.random.choice(["Add", "Sub", "Mul", "Max", "Min"]))
        pair = [name, other] if self.pick(0, 1) else [other, name]
        self.add(op, pair, shape)

    def function(self, name: str, shape: tuple[int, ...]) -> None:
        op = str(
            self.random.choice(
                ["Relu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "LeakyRelu", "Softmax"]
            )
        )
        more = {"axis": self.pick(-4, 3)} if op == "Softmax" else {}
        self.add(op, [name], shape, **more)

    def concat(self, name: str, shape: tuple[int, ...]) -> None:
        fitting = [
            v for v, s in self.values if len(s) == 4 and (s[0], *s[2:]) == (shape[0], *shape[2:])
        ]
        other = str(self.random.choice(fitting))
        channels = dict(self.values)[other][1]
        self.add("Concat", [name, other], (1, shape[1] + channels, *shape[2:]), axis=1)

    def slice(self, name: str, shape: tuple[int, ...]) -> None:
        axis = self.pick(1, 3)
        start = self.pick(0, shape[axis] - 1)
        new = list(shape)
        new[axis] = shape[axis] - start
        ends = [self.ints(start), self.ints(1 << 40), self.ints(axis)]
        self.add("Slice", [name, *ends], tuple(new))

    def turn(self, name: str, shape: tuple[int, ...]) -> None:
        self.add("Transpose", [name], (shape[0], shape[1], shape[3], shape[2]), perm=[0, 1, 3, 2])

    def reduce(self, name: str, shape: tuple[int, ...]) -> None:
        axis = self.pick(1, 3)
        new = tuple(1 if a == axis else s for a, s in enumerate(shape))
        self.add("ReduceMean", [name], new, axes=[axis])
        self.broadcast(self.values[-1][0], new)

    def resize(self, name: str, shape: tuple[int, ...]) -> None:
        new = (*shape[:2], self.pick(1, 2 * shape[2]), self.pick(1, 2 * shape[3]))
        mode = str(self.random.choice(["nearest", "linear"]))
        way = str(self.random.choice(["half_pixel", "asymmetric", "align_corners"]))
        inputs = [name, "", "", self.ints(*new)]
        self.add("Resize", inputs, new, mode=mode, coordinate_transformation_mode=way)


def network(seed: int) -> onnx.ModelProto:
    """A network of up to eight nodes with all of its ends as outputs."""
    grow = Grower(seed)
    shape = (1, grow.pick(1, 9), grow.pick(1, 14), grow.pick(1, 14))
    grow.values.append(("x", shape))
    ways = [grow.conv, grow.conv, grow.conv, grow.norm, grow.pool, grow.pad, grow.broadcast]
    ways += [grow.broadcast, grow.function, grow.concat, grow.slice, grow.turn, grow.reduce]
    ways += [grow.resize]
    for _ in range(grow.pick(2, 8)):
        recent = (
            grow.values[-1] if grow.pick(0, 3) else grow.values[grow.pick(0, 99) % len(grow.values)]
        )
        ways[grow.pick(0, len(ways) - 1)](*recent)
    used = {name for node in grow.nodes for name in node.input}
    value = helper.make_tensor_value_info
    ends = [(v, s) for v, s in grow.values[1:] if v not in used]
    graph = helper.make_graph(
        grow.nodes,
        f"random-{seed}",
        [value("x", TensorProto.FLOAT, shape)],
        [value(v, TensorProto.FLOAT, s) for v, s in ends],
        [numpy_helper.from_array(w, name) for name, w in grow.weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
