"""Layers with weights or windows: products, convolutions, pools, normalizations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sprat.model.padding import SAME, same_pads
from sprat.refinement.operators.node import Inputs, Node, Operator, first, optional, there

Pads = list[tuple[int, int]]
_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_MAXIMA = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_MEANS = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def _of_rank(functions: dict[int, Any], rank: int) -> Callable[..., Tensor]:
    if rank not in functions:
        raise NotImplementedError(f"{rank} spatial axes")
    found: Callable[..., Tensor] = functions[rank]
    return found


def _pads(node: Node, sizes: Sequence[int], kernel: Sequence[int]) -> Pads:
    """Return what is added before and behind each spatial axis."""
    rank, flags = len(sizes), node.flags
    strides = flags.get("strides", [1] * rank)
    holes = flags.get("dilations", [1] * rank)
    way = flags.get("auto_pad", "NOTSET")
    if way in SAME:
        reach = [hole * (extent - 1) + 1 for hole, extent in zip(holes, kernel, strict=True)]
        return same_pads(way, sizes, reach, strides)
    pads = flags.get("pads", [0] * 2 * rank) if way == "NOTSET" else [0] * 2 * rank
    return [(pads[i], pads[rank + i]) for i in range(rank)]


def _padded(x: Tensor, pads: Pads, value: float = 0.0) -> Tensor:
    if not any(any(pair) for pair in pads):
        return x
    return functional.pad(x, [p for pair in reversed(pads) for p in pair], value=value)


def _conv(given: Inputs, node: Node) -> Tensor:
    x, weight = first(given), there(given, 1)
    pads = _pads(node, x.shape[2:], weight.shape[2:])
    rank = len(pads)
    even = all(low == high for low, high in pads)
    convolve = _of_rank(_CONVOLUTIONS, rank)
    return convolve(
        x if even else _padded(x, pads),
        weight,
        optional(given, 2),
        stride=node.flags.get("strides", [1] * rank),
        padding=[low for low, _ in pads] if even else 0,
        dilation=node.flags.get("dilations", [1] * rank),
        groups=node.flags.get("group", 1),
    )


def _gemm(given: Inputs, node: Node) -> Tensor:
    a, b, c = first(given), there(given, 1), optional(given, 2)
    flags = node.flags
    product = (a.T if flags.get("transA") else a) @ (b.T if flags.get("transB") else b)
    product = flags.get("alpha", 1.0) * product
    return product if c is None else product + flags.get("beta", 1.0) * c


def _matmul(given: Inputs, _node: Node) -> Tensor:
    return torch.matmul(first(given), there(given, 1))


def _behind(x: Tensor, node: Node, pads: Pads) -> list[int]:
    """Return how much more is added behind each axis where windows may jut out (ceil_mode)."""
    if not node.flags.get("ceil_mode", 0):
        return [0] * len(pads)
    kernel = node.flags["kernel_shape"]
    strides = node.flags.get("strides", [1] * len(pads))
    holes = node.flags.get("dilations", [1] * len(pads))
    more = []
    for i, (low, high) in enumerate(pads):
        reach = holes[i] * (kernel[i] - 1) + 1
        room = x.shape[2 + i] + low + high - reach
        count = math.ceil(room / strides[i])
        # The last window must begin within the input or what is added before it.
        if count * strides[i] >= x.shape[2 + i] + low:
            count -= 1
        more.append(max(0, count * strides[i] - room))
    return more


def _max_pool(given: Inputs, node: Node) -> Tensor:
    if len(node.outputs) > 1:
        raise NotImplementedError("Indices")
    x, kernel = first(given), node.flags["kernel_shape"]
    pads = _pads(node, x.shape[2:], kernel)
    more = _behind(x, node, pads)
    x = _padded(x, [(a, b + m) for (a, b), m in zip(pads, more, strict=True)], -math.inf)
    rank = len(kernel)
    return _of_rank(_MAXIMA, rank)(
        x,
        kernel,
        node.flags.get("strides", [1] * rank),
        dilation=node.flags.get("dilations", [1] * rank),
    )


def _average_pool(given: Inputs, node: Node) -> Tensor:
    x, kernel = first(given), node.flags["kernel_shape"]
    rank = len(kernel)
    if any(hole != 1 for hole in node.flags.get("dilations", [1] * rank)):
        raise NotImplementedError("dilations")
    pads = _pads(node, x.shape[2:], kernel)
    more = _behind(x, node, pads)
    mean, strides = _of_rank(_MEANS, rank), node.flags.get("strides", [1] * rank)
    around = [(a, b + m) for (a, b), m in zip(pads, more, strict=True)]
    total = mean(_padded(x, around), kernel, strides)
    if not any(any(pair) for pair in around):
        return total
    # What counts: the input, with count_include_pad also what pads added; never what juts out.
    ones = torch.ones_like(x[:1, :1])
    counted = _padded(ones, pads, 1.0) if node.flags.get("count_include_pad", 0) else ones
    rest = [(0, m) for m in more] if counted is not ones else around
    return total / mean(_padded(counted, rest), kernel, strides)


def _spatial(x: Tensor) -> list[int]:
    return list(range(2, x.ndim))


def _global_average(given: Inputs, _node: Node) -> Tensor:
    x = first(given)
    return x.mean(_spatial(x), keepdim=True)


def _global_max(given: Inputs, _node: Node) -> Tensor:
    x = first(given)
    return x.amax(_spatial(x), keepdim=True)


def _batch_norm(given: Inputs, node: Node) -> Tensor:
    if node.flags.get("training_mode", 0):
        raise NotImplementedError("training_mode")
    x, scale, shift, mean, variance = (there(given, i) for i in range(5))
    epsilon = node.flags.get("epsilon", 1e-5)
    return functional.batch_norm(x, mean, variance, scale, shift, False, 0.0, epsilon)


def _layer_norm(given: Inputs, node: Node) -> Tensor:
    x = first(given)
    shape = x.shape[node.flags.get("axis", -1) :]
    scale, shift = there(given, 1), optional(given, 2)
    normal = functional.layer_norm(x, shape, eps=node.flags.get("epsilon", 1e-5)) * scale
    return normal if shift is None else normal + shift


def _instance_norm(given: Inputs, node: Node) -> Tensor:
    x, scale, shift = (there(given, i) for i in range(3))
    epsilon = node.flags.get("epsilon", 1e-5)
    return functional.instance_norm(x, weight=scale, bias=shift, eps=epsilon)


LAYERS: dict[str, Operator] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_max,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "InstanceNormalization": _instance_norm,
}
