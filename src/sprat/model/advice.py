"""What to try next, and the size to expect of it.

The figures are what measured models came to: a ResNet-18 and a small plain CNN (about half a bit
a weight), compact networks with depthwise convolutions (about three), and br-11 bytes of int8 and
float16 weights (0.90 and 1.76 bytes a weight in each of four networks).
"""

from __future__ import annotations

import math
import shlex
from pathlib import Path

import onnx

from sprat.model.inspection import Advice
from sprat.model.layers import weights_of_nodes
from sprat.model.nodes import inner_weights, tensor_bytes, weight_tensors
from sprat.model.wire import WireBytes

#: Bits a weight in br-11 at which a search by rate and distortion usually ends.
_PLAIN_BITS = 0.5
_OTHER_BITS = 3.0
#: br-11 bytes a weight.
_INT8_BYTES = 0.90
_FLOAT16_BYTES = 1.76
_FLOATS = frozenset(
    {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.BFLOAT16,
        onnx.TensorProto.DOUBLE,
    }
)
_HALVES = frozenset({onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16})
_INTEGERS = frozenset(
    {
        onnx.TensorProto.INT8,
        onnx.TensorProto.UINT8,
        onnx.TensorProto.INT4,
        onnx.TensorProto.UINT4,
        onnx.TensorProto.INT32,
    }
)
#: The method 'weights' leaves a weight of fewer numbers float.
_LEAST_INT8 = 1024
#: br-11 bytes of a node: its name, its attributes, its small tensors.
_NODE_BYTES = 40


def advise(path: Path, model: onnx.ModelProto, wire: WireBytes) -> tuple[Advice, ...]:
    """Say which commands to try, the most promising first.

    Args:
        path: The model's file, for the commands.
        model: The model.
        wire: What it costs now.

    Returns:
        Commands with what they would give.
    """
    name = shlex.quote(str(path))
    if sum(map(tensor_bytes, inner_weights(model))) > wire.raw // 2:
        what = (
            "most of its weights lie in the bodies of If or Loop, which no method here changes: "
            "export the branch that the page needs by itself"
        )
        return (Advice(f"sprat bundle {name} --out site", what, wire.brotli),)
    tensors = {k: t for k, t in weight_tensors(model).items() if t.data_type in _FLOATS}
    floats = {key: math.prod(t.dims) for key, t in tensors.items()}
    count = sum(floats.values())
    if sum(map(tensor_bytes, tensors.values())) < wire.raw // 2:
        what = _without_floats(model)
        return (Advice(f"sprat compare ORIGINAL {name} --data DATA", what, wire.brotli),)

    def expected(bytes_each: float) -> int:
        return min(wire.brotli, round(count * bytes_each) + _NODE_BYTES * len(model.graph.node))

    plain = _plain_weights(model, floats) > count / 2
    bits, kind = (
        (_PLAIN_BITS, "plain convolutions with large kernels")
        if plain
        else (_OTHER_BITS, "depthwise and 1x1 convolutions and matrix products")
    )
    advice = [
        Advice(
            f"sprat optimize {name} --data DATA --out small",
            "the smallest that holds your accuracy, which your data decide; "
            f"{kind} usually take about {bits:g} bits a weight",
            expected(bits / 8),
        )
    ]
    if max(floats.values(), default=0) >= _LEAST_INT8:
        what = "int8 weights; needs no data"
        command = f"sprat quantize {name} --method weights -o small.onnx"
        advice.append(Advice(command, what, expected(_INT8_BYTES)))
    if sum(floats[key] for key, t in tensors.items() if t.data_type in _HALVES) <= count / 2:
        what = "half the bits, nearly the same outputs; needs no data"
        command = f"sprat quantize {name} --method float16 -o half.onnx"
        advice.append(Advice(command, what, expected(_FLOAT16_BYTES)))
    return tuple(advice)


def _without_floats(model: onnx.ModelProto) -> str:
    """Say what a model consists of that no method here makes smaller."""
    learned = sorted({n.op_type for n in model.graph.node if n.domain == "ai.onnx.ml"})
    if learned:
        return (
            f"what it learned lies in attributes of {', '.join(learned[:3])}, as scikit-learn's "
            "exporters write them, which no method here changes: compression is all that helps"
        )
    integers = {t.data_type for t in weight_tensors(model).values()} & _INTEGERS
    if integers:
        return "most of its weights are integers already: compare it with its original"
    return "less than half of its bytes are weights, which is all that the methods here change"


def _plain_weights(model: onnx.ModelProto, floats: dict[str, int]) -> int:
    """Count the weights of ungrouped convolutions with kernels of 3 x 3 or more."""
    tensors = weight_tensors(model)
    total = 0
    for i, weights in weights_of_nodes(model).items():
        node = model.graph.node[i]
        if node.op_type not in ("Conv", "ConvTranspose") or groups(node) > 1:
            continue
        kernel = max(weights, key=lambda name: math.prod(tensors[name].dims))
        if math.prod(tensors[kernel].dims[2:]) >= 9:
            total += floats.get(kernel, 0)
    return total


def groups(node: onnx.NodeProto) -> int:
    """Return the groups of a convolution."""
    return next((a.i for a in node.attribute if a.name == "group"), 1)
