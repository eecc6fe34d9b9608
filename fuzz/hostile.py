"""Changes that nobody makes by accident: a model that loads is turned on its reader."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

#: Names, as strangers choose them.
TEXTS = (
    *("", "a", "input", "conv1", "Conv", "If", "../x", "/etc/passwd", "\x1b[1m", "x" * 1000),
    *("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "a\0b", "\u202eabc", "🐟"),
    *("{{7*7}}", "[bold]x[/]", "%s%n", "a\nb", "__proto__", "</title><svg onload=alert(1)>"),
)
#: Where external data may not lie, and where it may.
_PLACES = (
    *("../secret.bin", "/etc/hostname", "link.bin", ".", "", "model.onnx", "model.onnx.data"),
    *("none.bin", "a/../../secret.bin", "//x", "x" * 5000, "a\0b", "/dev/zero", "/proc/self/mem"),
)
_NUMBERS = ("0", "-1", "1", "4", "1000000000000", "many", "", "1e3", "9" * 5000, "٣", "0x10", " 8 ")
_SIZES = (0, -1, 1, 3, 1000, 10**5, 10**9, 2**31, 2**40, 2**62)

Hostile = Callable[[onnx.ModelProto, random.Random], None]


def _lie_about_dims(model: onnx.ModelProto, rng: random.Random) -> None:
    tensor = rng.choice([*model.graph.initializer] or [model.graph.initializer.add()])
    dims = list(tensor.dims) or [1]
    dims[rng.randrange(len(dims))] = rng.choice(_SIZES)
    tensor.dims[:] = dims


def _lie_about_values(model: onnx.ModelProto, rng: random.Random) -> None:
    graph = model.graph
    kind = rng.choice([*graph.input, *graph.output, *graph.value_info]).type.tensor_type
    if rng.random() < 0.3:
        kind.elem_type = rng.randrange(28)
    dims = kind.shape.dim
    if not dims or rng.random() < 0.2:
        dims.add()
    rng.choice(dims).dim_value = rng.choice(_SIZES)


def _rename(model: onnx.ModelProto, rng: random.Random) -> None:
    """Give a value another name wherever it is used, so that the model still loads."""
    graph = model.graph
    values: list[Any] = [*graph.input, *graph.output, *graph.initializer]
    old, new = rng.choice(values).name, rng.choice(TEXTS)
    for value in values:
        value.name = new if value.name == old else value.name
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
        node.name = new if rng.random() < 0.1 else node.name
    model.producer_name = rng.choice(TEXTS)
    graph.name = rng.choice(TEXTS)


def _move_data(model: onnx.ModelProto, rng: random.Random) -> None:
    tensor = rng.choice([*model.graph.initializer] or [model.graph.initializer.add()])
    tensor.data_location = TensorProto.EXTERNAL
    if rng.random() < 0.8:
        tensor.ClearField("raw_data")
    entries = {e.key: e.value for e in tensor.external_data} or {"location": "model.onnx.data"}
    key = rng.choice(("location", "offset", "length", "checksum"))
    entries[key] = rng.choice(_PLACES if key == "location" else _NUMBERS)
    del tensor.external_data[:]
    for name, value in entries.items():
        tensor.external_data.add(key=name, value=value)


def _close_cycle(model: onnx.ModelProto, rng: random.Random) -> None:
    made = [name for node in model.graph.node for name in node.output]
    node = rng.choice(model.graph.node)
    if node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice(made)


def _swap_operator(model: onnx.ModelProto, rng: random.Random) -> None:
    schemas = onnx.defs.get_all_schemas()
    rng.choice(model.graph.node).op_type = rng.choice(schemas).name


def _change_opset(model: onnx.ModelProto, rng: random.Random) -> None:
    rng.choice(model.opset_import).version = rng.choice((-1, 0, 1, 6, 7, 9, 11, 13, 18, 21, 99))
    model.ir_version = rng.choice((0, 3, 4, 7, 9, 10, 2**40))


def _change_attribute(model: onnx.ModelProto, rng: random.Random) -> None:
    nodes = [node for node in model.graph.node if node.attribute] or [model.graph.node[0]]
    node = rng.choice(nodes)
    if not node.attribute:
        return
    attribute = rng.choice(node.attribute)
    if len(attribute.ints):
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(_SIZES)
    else:
        attribute.i = rng.choice(_SIZES)


def _retype(model: onnx.ModelProto, rng: random.Random) -> None:
    """Give a weight another type of as many bytes, so that it still holds what it says."""
    tensor = rng.choice([*model.graph.initializer] or [model.graph.initializer.add()])
    tensor.data_type = rng.choice((TensorProto.INT32, TensorProto.UINT32, TensorProto.FLOAT))


def _grow(model: onnx.ModelProto, rng: random.Random) -> None:
    """Add nodes that make an enormous value from a few bytes."""
    size = rng.choice((10**6, 10**9, 3 * 10**9, 2**40))
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(np.array([size], np.int64), "bomb_size"))
    graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "bomb_zero"))
    zero = numpy_helper.from_array(np.zeros(1, np.float32))
    node = rng.choice(
        (
            helper.make_node("ConstantOfShape", ["bomb_size"], ["bomb"], value=zero),
            helper.make_node("Expand", ["bomb_zero", "bomb_size"], ["bomb"]),
            helper.make_node("Tile", ["bomb_zero", "bomb_size"], ["bomb"]),
        )
    )
    graph.node.insert(0, node)
    _use(model, "bomb", rng)


def _spin(model: onnx.ModelProto, rng: random.Random) -> None:
    """Add a loop that runs for ages."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["spin_condition"], ["spin_again"]),
            helper.make_node("Add", ["spin_sum", "spin_sum"], ["spin_next"]),
        ],
        "spin_body",
        [
            value("spin_round", TensorProto.INT64, []),
            value("spin_condition", TensorProto.BOOL, []),
            value("spin_sum", TensorProto.FLOAT, [1]),
        ],
        [value("spin_again", TensorProto.BOOL, []), value("spin_next", TensorProto.FLOAT, [1])],
    )
    rounds = rng.choice((0, 10, 10**9, 2**62))
    for name, array in (
        ("spin_rounds", np.array(rounds, np.int64)),
        ("spin_true", np.array(True)),
        ("spin_one", np.ones(1, np.float32)),
    ):
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    names = ["spin_rounds", "spin_true", "spin_one"]
    model.graph.node.insert(0, helper.make_node("Loop", names, ["spun"], body=body))
    _use(model, "spun", rng)


def _use(model: onnx.ModelProto, name: str, rng: random.Random) -> None:
    """Make a value matter: an output of its own, or a sum that something reads."""
    if rng.random() < 0.5:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["k"]))
        return
    node = rng.choice(model.graph.node[1:] or model.graph.node)
    if node.input:
        node.input[rng.randrange(len(node.input))] = name


HOSTILE: tuple[Hostile, ...] = (
    *(_lie_about_dims, _lie_about_values, _rename, _move_data, _close_cycle, _swap_operator),
    *(_change_opset, _change_attribute, _retype, _grow, _spin),
)
