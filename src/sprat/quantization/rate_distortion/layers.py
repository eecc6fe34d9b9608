"""The layers whose inputs give a second moment, and their weights as matrices."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from sprat.model.padding import SAME, same_pads
from sprat.quantization.rate_distortion.biases import Biases
from sprat.quantization.weights import MIN_ELEMENTS


@dataclass(frozen=True)
class Layer:
    """A node with a constant weight that multiplies patches or rows of one input.

    Attributes:
        name: Of the weight's initializer.
        node: Name of the first node that uses it.
        operator: ``Conv``, ``Gemm`` or ``MatMul``.
        source: Name of the input tensor.
        shape: Of the weight as stored.
        groups: Groups of a convolution; 1 otherwise.
        kernel: Spatial shape of a convolution's kernel.
        strides: Of a convolution.
        dilations: Of a convolution.
        pads: Of a convolution, begins then ends.
        auto_pad: Of a convolution.
        transposed: The stored matrix is ``[K, O]`` rather than ``[O, K]``.
        flipped: ``transA`` of a Gemm.
        bias: Initializer that is added to the output, one number for each output channel, and has
            no other use; empty where there is none.
    """

    name: str
    node: str
    operator: str
    source: str
    shape: tuple[int, ...]
    groups: int = 1
    kernel: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    auto_pad: str = "NOTSET"
    transposed: bool = False
    flipped: bool = False
    bias: str = ""

    @property
    def outputs(self) -> int:
        """Output channels of a group, the rows of its matrix."""
        rows = self.shape[-1] if self.transposed else self.shape[0]
        return rows // self.groups

    @property
    def columns(self) -> int:
        """Inputs of an output channel."""
        return math.prod(self.shape) // (self.outputs * self.groups)

    @property
    def axis(self) -> int:
        """Axis of the output channels in the stored weight."""
        return len(self.shape) - 1 if self.transposed else 0

    def matrix(self, weight: NDArray[Any]) -> NDArray[Any]:
        """Bring a stored weight into ``[groups, outputs, columns]``."""
        flat = weight.T if self.transposed else weight
        return np.ascontiguousarray(flat).reshape(self.groups, self.outputs, self.columns)

    def stored(self, matrix: NDArray[Any]) -> NDArray[Any]:
        """Bring ``[groups, outputs, columns]`` back into the stored form."""
        rows = matrix.reshape(self.groups * self.outputs, self.columns)
        return np.ascontiguousarray(rows.T if self.transposed else rows).reshape(self.shape)

    def patches(self, x: NDArray[np.float32], rows: int, seed: int) -> NDArray[np.float32]:
        """Cut an input into the vectors that the weight multiplies.

        Args:
            x: The input tensor, samples along axis 0.
            rows: At most so many positions of each sample, the same ones for all.
            seed: Chooses them.

        Returns:
            ``[groups, N, columns]`` float32.
        """
        if self.operator != "Conv":
            flat = x.T if self.flipped else x
            vectors = flat.reshape(len(flat), -1, self.columns)
            return _some(vectors, rows, seed).reshape(1, -1, self.columns)
        return _im2col(self, x, rows, seed)


def find_layers(model: onnx.ModelProto) -> list[Layer]:
    """Find the layers that can be quantized with error feedback.

    Args:
        model: Clean, nodes named.

    Returns:
        The layers in the order in which they run; a weight that two nodes share appears once,
        with its first user.
    """
    weights = {
        t.name: tuple(t.dims)
        for t in model.graph.initializer
        if t.data_type == onnx.TensorProto.FLOAT and math.prod(t.dims) >= MIN_ELEMENTS // 4
    }
    found: dict[str, Layer] = {}
    biases = Biases(model)
    for node in model.graph.node:
        if len(node.input) < 2 or node.input[1] not in weights or node.input[0] in weights:
            continue
        layer = _layer(node, weights[node.input[1]])
        if layer is not None and layer.name not in found:
            found[layer.name] = replace(layer, bias=biases.of(node, layer.outputs * layer.groups))
    return list(found.values())


def weight_of(model: onnx.ModelProto, name: str) -> NDArray[np.float32]:
    """Return an initializer as an array.

    Raises:
        KeyError: There is none of that name.
    """
    tensor = next((t for t in model.graph.initializer if t.name == name), None)
    if tensor is None:
        raise KeyError(name)
    return np.asarray(numpy_helper.to_array(tensor), dtype=np.float32)


def _layer(node: onnx.NodeProto, shape: tuple[int, ...]) -> Layer | None:
    flags = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    data, weight = node.input[0], node.input[1]
    if node.op_type == "Conv" and len(shape) > 2:
        count = len(shape) - 2
        return Layer(
            name=weight,
            node=node.name,
            operator="Conv",
            source=data,
            shape=shape,
            groups=flags.get("group", 1),
            kernel=shape[2:],
            strides=tuple(flags.get("strides", [1] * count)),
            dilations=tuple(flags.get("dilations", [1] * count)),
            pads=tuple(flags.get("pads", [0] * 2 * count)),
            auto_pad=flags.get("auto_pad", b"NOTSET").decode(),
        )
    if node.op_type == "Gemm" and len(shape) == 2:
        plain = not flags.get("transB", 0)
        flipped = bool(flags.get("transA", 0))
        return Layer(weight, node.name, "Gemm", data, shape, transposed=plain, flipped=flipped)
    if node.op_type == "MatMul" and len(shape) == 2:
        return Layer(weight, node.name, "MatMul", data, shape, transposed=True)
    return None


def _some(vectors: NDArray[np.float32], rows: int, seed: int) -> NDArray[np.float32]:
    count = vectors.shape[1]
    if count <= rows:
        return vectors
    chosen = np.sort(np.random.default_rng(seed).choice(count, rows, replace=False))
    return vectors[:, chosen]


def _im2col(layer: Layer, x: NDArray[np.float32], rows: int, seed: int) -> NDArray[np.float32]:
    spatial = x.shape[2:]
    dims = len(spatial)
    extent = [d * (k - 1) + 1 for d, k in zip(layer.dilations, layer.kernel, strict=True)]
    pads = _pads(layer, spatial, extent)
    padded = np.pad(x, [(0, 0), (0, 0), *pads])
    axes = tuple(range(2, 2 + dims))
    windows = np.lib.stride_tricks.sliding_window_view(padded, extent, axis=axes)
    steps = (slice(None), slice(None), *(slice(None, None, s) for s in layer.strides))
    holes = (*([slice(None)] * (2 + dims)), *(slice(None, None, d) for d in layer.dilations))
    windows = windows[steps][holes]
    places = math.prod(windows.shape[2 : 2 + dims])
    chosen = np.arange(places)
    if places > rows:
        chosen = np.sort(np.random.default_rng(seed).choice(places, rows, replace=False))
    index = np.unravel_index(chosen, windows.shape[2 : 2 + dims])
    everything: tuple[Any, ...] = (slice(None), slice(None), *index)
    picked = windows[everything]
    batch, channels, count = picked.shape[:3]
    split = picked.reshape(batch, layer.groups, channels // layer.groups, count, *layer.kernel)
    order = (1, 0, 3, 2, *range(4, 4 + dims))
    vectors = split.transpose(order).reshape(layer.groups, batch * count, layer.columns)
    return np.ascontiguousarray(vectors, dtype=np.float32)


def _pads(layer: Layer, spatial: tuple[int, ...], extent: list[int]) -> list[tuple[int, int]]:
    dims = len(spatial)
    if layer.auto_pad in SAME:
        return same_pads(layer.auto_pad, spatial, extent, layer.strides)
    if layer.auto_pad == "VALID":
        return [(0, 0)] * dims
    return [(layer.pads[i], layer.pads[dims + i]) for i in range(dims)]
