"""Small real models that tests share: every builder gives the same bytes at each call.

Images are float32 in NCHW with a dynamic batch, ``input [n, 3, 16, 16]``; the result is ``output``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import ArrayLike, NDArray
from onnx import helper, numpy_helper

OPSET = 17
IR_VERSION = 9
IMAGE = ("n", 3, 16, 16)

Shape = Sequence[int | str]


class Builder:
    """Collects nodes and seeded weights, and closes them into a checked model."""

    def __init__(self, *, seed: int = 0, opset: int = OPSET) -> None:
        self.random = np.random.default_rng(seed)
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def constant(self, values: ArrayLike, name: str) -> str:
        """Add an initializer and return its name."""
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def weight(self, name: str, *shape: int) -> str:
        """Add a normal float32 initializer, scaled so that signals keep their size."""
        fan_in = max(1, int(np.prod(shape[1:])))
        values = self.random.standard_normal(shape) * np.sqrt(2 / fan_in)
        return self.constant(values.astype(np.float32), name)

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node named after its output, and return the output's name."""
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def conv(self, x: str, name: str, before: int, after: int, size: int = 3, **more: int) -> str:
        """Add a Conv with bias and "same" padding; ``more`` is ``group`` or ``stride``."""
        group, stride = more.get("group", 1), more.get("stride", 1)
        kernel = self.weight(f"{name}.weight", after, before // group, size, size)
        bias = self.constant(self.random.standard_normal(after).astype(np.float32), f"{name}.bias")
        return self.node(
            "Conv",
            [x, kernel, bias],
            name,
            kernel_shape=[size, size],
            pads=[size // 2] * 4,
            strides=[stride, stride],
            group=group,
        )

    def batch_norm(self, x: str, name: str, channels: int) -> str:
        """Add a BatchNormalization with statistics that are not trivial."""
        rows = self.random.uniform(0.5, 1.5, (4, channels)).astype(np.float32)
        names = [f"{name}.{part}" for part in ("scale", "bias", "mean", "var")]
        for row, part in zip(rows, names, strict=True):
            self.constant(row, part)
        return self.node("BatchNormalization", [x, *names], name, epsilon=1e-5)

    def head(self, x: str, channels: int, outputs: int) -> str:
        """Add global pooling and a Gemm that ends in ``output``."""
        pooled = self.node("GlobalAveragePool", [x], "pool")
        flat = self.node("Flatten", [pooled], "flat", axis=1)
        kernel, bias = self.weight("fc.weight", outputs, channels), self.weight("fc.bias", outputs)
        return self.node("Gemm", [flat, kernel, bias], "output", transB=1)

    def model(
        self, inputs: dict[str, Shape], outputs: dict[str, Shape], *, name: str
    ) -> onnx.ModelProto:
        """Close the graph; inputs and outputs are float32."""
        graph = helper.make_graph(
            self.nodes,
            name,
            [_value(k, shape) for k, shape in inputs.items()],
            [_value(k, shape) for k, shape in outputs.items()],
            self.weights,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", self.opset)],
            ir_version=IR_VERSION,
            producer_name="tests",
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def _value(name: str, shape: Shape) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)


def cnn_with_batch_norm(*, classes: int = 4, opset: int = OPSET, seed: int = 0) -> onnx.ModelProto:
    """Three Conv with unfolded BatchNorm, one of them over a residual add; ``classes`` logits."""
    b = Builder(seed=seed, opset=opset)
    x = b.node("Relu", [b.batch_norm(b.conv("input", "conv1", 3, 16), "bn1", 16)], "relu1")
    y = b.node("Relu", [b.batch_norm(b.conv(x, "conv2", 16, 16), "bn2", 16)], "relu2")
    y = b.node("Add", [b.batch_norm(b.conv(y, "conv3", 16, 16), "bn3", 16), x], "add")
    b.head(b.node("Relu", [y], "relu3"), 16, classes)
    return b.model({"input": IMAGE}, {"output": ("n", classes)}, name="cnn_with_batch_norm")


def one_logit_cnn(*, width: int = 16, opset: int = OPSET, seed: int = 0) -> onnx.ModelProto:
    """Three plain Conv (the second with stride 2) and one logit, as a binary classifier has."""
    b = Builder(seed=seed, opset=opset)
    x = b.node("Relu", [b.conv("input", "conv1", 3, width)], "relu1")
    x = b.node("Relu", [b.conv(x, "conv2", width, 2 * width, stride=2)], "relu2")
    x = b.node("Relu", [b.conv(x, "conv3", 2 * width, 2 * width)], "relu3")
    b.head(x, 2 * width, 1)
    return b.model({"input": IMAGE}, {"output": ("n", 1)}, name="one_logit_cnn")


def depthwise_cnn(*, classes: int = 4, opset: int = OPSET, seed: int = 0) -> onnx.ModelProto:
    """A stem and three pairs of depthwise and pointwise Conv, as compact networks have."""
    b = Builder(seed=seed, opset=opset)
    x = b.node("Relu", [b.conv("input", "stem", 3, 16, stride=2)], "stem_relu")
    for i in range(3):
        x = b.node("Relu", [b.conv(x, f"depth{i}", 16, 16, group=16)], f"depth_relu{i}")
        x = b.node("Relu", [b.conv(x, f"point{i}", 16, 16, 1)], f"point_relu{i}")
    b.head(x, 16, classes)
    return b.model({"input": IMAGE}, {"output": ("n", classes)}, name="depthwise_cnn")


def mlp(*, features: int = 32, hidden: int = 64, seed: int = 0) -> onnx.ModelProto:
    """Two MatMul with bias by Add and ReLU between: ``input [n, features]`` to 4 logits."""
    b = Builder(seed=seed)
    x = b.node("MatMul", ["input", b.weight("w1", features, hidden)], "product1")
    x = b.node("Relu", [b.node("Add", [x, b.weight("b1", hidden)], "sum1")], "relu1")
    x = b.node("MatMul", [x, b.weight("w2", hidden, 4)], "product2")
    b.node("Add", [x, b.weight("b2", 4)], "output")
    return b.model({"input": ("n", features)}, {"output": ("n", 4)}, name="mlp")


def with_external_data(path: Path, model: onnx.ModelProto | None = None) -> Path:
    """Write a model (:func:`one_logit_cnn` by default) with its weights in ``<name>.data``."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model if model is not None else one_logit_cnn())
    location = f"{path.name}.data"
    onnx.save_model(copy, path, save_as_external_data=True, location=location, size_threshold=64)
    return path


def images(count: int, *, seed: int = 0) -> NDArray[np.float32]:
    """Return seeded normal noise that fits ``input`` of the image models."""
    shape = (count, *(d for d in IMAGE if isinstance(d, int)))
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def balanced(model: onnx.ModelProto, x: NDArray[np.float32]) -> onnx.ModelProto:
    """Shift a model of one logit so that it answers about half of some images with yes."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    middle = float(np.median(session.run(None, {"input": x})[0]))
    shifted = onnx.ModelProto()
    shifted.CopyFrom(model)
    last = shifted.graph.node[-1]
    before, result = f"{last.output[0]}.before", last.output[0]
    last.output[0] = before
    shift = np.array([middle], np.float32)
    shifted.graph.initializer.append(numpy_helper.from_array(shift, "shift"))
    shifted.graph.node.append(helper.make_node("Sub", [before, "shift"], [result], name="shifted"))
    return shifted
