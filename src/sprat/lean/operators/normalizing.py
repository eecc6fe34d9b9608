"""Normalizations and softmax."""

from __future__ import annotations

import math

import numpy as np

from sprat.lean import plan
from sprat.lean.builder import Builder
from sprat.lean.nodes import MISFIT, Node
from sprat.lean.operators.convolution import normalization
from sprat.lean.operators.elementwise import combine
from sprat.lean.operators.registry import axis_of, lowers
from sprat.lean.values import Constant


@lowers("BatchNormalization")
def batch_normalization(builder: Builder, node: Node) -> None:
    """Lower a normalization that no convolution could take in."""
    x = builder.view(node, 0)
    factor, shift = normalization(builder, node)
    shape = (-1, *[1] * (len(x.shape) - 2))
    scaled = combine(builder, "mul", x, Constant(factor.reshape(shape)))
    builder.finish(node, combine(builder, "add", scaled, Constant(shift.reshape(shape))))


@lowers("LayerNormalization")
def layer_normalization(builder: Builder, node: Node) -> None:
    """Lower a normalization over the last axes."""
    if any(node.outputs[1:]):
        raise node.refused("mean and deviation are not there", "outputs Mean, InvStdDev")
    x = builder.dense(builder.view(node, 0))
    axis = axis_of(node, node.integer("axis", -1), len(x.shape))
    n = math.prod(x.shape[axis:])
    gamma = _filled(builder, node, 1, x.shape[axis:], 1.0)
    beta = _filled(builder, node, 2, x.shape[axis:], 0.0)
    y = builder.step(
        plan.Normalize,
        x=x,
        y=builder.new(x.shape),
        gamma=builder.resident(gamma),
        beta=builder.resident(beta),
        shape=(x.size // n, n),
        epsilon=node.number("epsilon", 1e-5),
    )
    builder.finish(node, y)


@lowers("InstanceNormalization")
def instance_normalization(builder: Builder, node: Node) -> None:
    """Lower a normalization of each channel of each image."""
    x = builder.dense(builder.view(node, 0))
    channels = x.shape[1]
    n = math.prod(x.shape[2:])
    y = builder.step(
        plan.Normalize,
        x=x,
        y=builder.new(x.shape),
        gamma=builder.resident(_filled(builder, node, 1, (channels,), 1.0)),
        beta=builder.resident(_filled(builder, node, 2, (channels,), 0.0)),
        shape=(x.size // n, n),
        shared=channels,
        epsilon=node.number("epsilon", 1e-5),
    )
    builder.finish(node, y)


def _filled(
    builder: Builder, node: Node, index: int, shape: tuple[int, ...], default: float
) -> Constant:
    """Return a constant input at its full shape."""
    name = ("", "scale", "B")[index]
    found = builder.optional(node, index, name)
    values = np.float32(default) if found is None else found.expanded
    try:
        return Constant(np.ascontiguousarray(np.broadcast_to(values, shape), np.float32))
    except ValueError as error:
        what = f"shape {list(np.shape(values))} does not fit {list(shape)}"
        raise node.refused(what, f"input {name}", MISFIT) from error


@lowers("Softmax", "LogSoftmax")
def softmax(builder: Builder, node: Node) -> None:
    """Lower a softmax along one axis; before operator set 13, over all axes from one on."""
    x = builder.view(node, 0)
    rank = len(x.shape)
    logarithm = node.op == "LogSoftmax"
    axis = axis_of(node, node.integer("axis", -1 if node.opset >= 13 else 1), rank)
    if node.opset >= 13 or axis == rank - 1:
        order = (*[a for a in x.order if a != axis], axis)
        n = x.shape[axis]
    else:
        order, n = tuple(range(rank)), math.prod(x.shape[axis:])
    x = builder.dense(x, order)
    y = builder.step(
        plan.SoftmaxStep,
        in_place=x.size == x.storage.size,
        x=x,
        y=builder.new(x.shape, order),
        shape=(x.size // n, n),
        logarithm=logarithm,
    )
    builder.finish(node, y)
