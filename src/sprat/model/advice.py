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
    floats = {
        key: math.prod(t.dims)
        for key, t in weight_tensors(model).items()
        if t.data_type == onnx.TensorProto.FLOAT
    }
    count = sum(floats.values())
    if count * 4 < wire.raw // 2:
        what = "most of its weights are integers or float16 already: compare it with its original"
        return (Advice(f"sprat compare ORIGINAL {name} --data DATA", what, wire.brotli),)

    def expected(bytes_each: float) -> int:
        return min(wire.brotli, round(count * bytes_each) + _NODE_BYTES * len(model.graph.node))

    plain = _plain_weights(model, floats) > count / 2
    bits, kind = (
        (_PLAIN_BITS, "plain convolutions with large kernels")
        if plain
        else (_OTHER_BITS, "depthwise and 1x1 convolutions and matrix products")
    )
    return (
        Advice(
            f"sprat optimize {name} --data DATA --out small",
            "the smallest that holds your accuracy, which your data decide; "
            f"{kind} usually take about {bits:g} bits a weight",
            expected(bits / 8),
        ),
        Advice(
            f"sprat quantize {name} --method weights -o small.onnx",
            "int8 weights; needs no data",
            expected(_INT8_BYTES),
        ),
        Advice(
            f"sprat quantize {name} --method float16 -o half.onnx",
            "half the bits, nearly the same outputs; needs no data",
            expected(_FLOAT16_BYTES),
        ),
    )


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
