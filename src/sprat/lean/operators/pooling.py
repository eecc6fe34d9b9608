"""Pools over windows."""

from __future__ import annotations

from dataclasses import replace

from sprat.lean import plan
from sprat.lean.builder import Builder
from sprat.lean.nodes import BROKEN, Node
from sprat.lean.operators.convolution import (
    NHWC,
    Window,
    one_axis,
    too_small,
    two_axes,
    window_of,
)
from sprat.lean.operators.registry import lowers
from sprat.lean.values import View


@lowers("MaxPool", "AveragePool")
def pool(builder: Builder, node: Node) -> None:
    """Lower a maximum or a mean over windows."""
    given = builder.view(node, 0)
    x = two_axes(node, given)
    if len(node.outputs) > 1 and node.outputs[1]:
        raise node.refused("the indices are not there", "output Indices")
    kernel = node.integers("kernel_shape", [])
    if len(kernel) != len(given.shape) - 2:
        what = f"{kernel} does not fit an input of shape {list(given.shape)}"
        raise node.refused(what, "attribute kernel_shape", BROKEN)
    window = window_of(node, x, kernel)
    out = _out(node, window, x)
    counted = None
    if node.op == "AveragePool" and node.integer("count_include_pad", 0):
        counted = (x.shape[2] + window.pads[2], x.shape[3] + window.pads[3])
    x = builder.dense(x, NHWC)
    images, channels, height, width = x.shape
    y = builder.step(
        plan.Pool,
        kind="max" if node.op == "MaxPool" else "mean",
        x=x,
        y=builder.new((images, channels, *out), NHWC),
        shape=(images, height, width, channels),
        out=out,
        kernel=window.kernel,
        strides=window.strides,
        dilations=window.dilations,
        pads=window.pads[:2],
        counted=counted,
    )
    builder.finish(node, one_axis(y, len(given.shape)))


def _out(node: Node, window: Window, x: View) -> tuple[int, int]:
    """Return height and width of the result; a window that starts in the padding does not count."""
    if not node.integer("ceil_mode", 0):
        out = window.out(x.shape[2], x.shape[3])
    else:
        (a, b), (top, left, bottom, right) = window.strides, window.pads
        wider = replace(window, pads=(top, left, bottom + a - 1, right + b - 1))
        height, width = wider.out(x.shape[2], x.shape[3])
        height -= (height - 1) * a >= x.shape[2] + top
        width -= (width - 1) * b >= x.shape[3] + left
        out = height, width
    if min(out) < 1:
        raise too_small(node, window, x)
    return out
