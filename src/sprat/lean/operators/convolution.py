"""Convolutions, with what can be taken into them: padding before; scales and limits after."""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import itemgetter

import numpy as np

from sprat.errors import LeanUnsupportedError
from sprat.lean import plan
from sprat.lean.builder import Builder
from sprat.lean.nodes import BROKEN, MISFIT, Node
from sprat.lean.operators import activation
from sprat.lean.operators.activation import Function
from sprat.lean.operators.registry import lowers
from sprat.lean.values import Array, Constant, View, dense_strides
from sprat.model.padding import SAME, same_pads

#: Order of the axes in memory: images, height, width, channels.
NHWC = (0, 2, 3, 1)


@dataclass(frozen=True)
class Window:
    """What a window over height and width does.

    Attributes:
        kernel: Height and width.
        strides: From one window to the next.
        dilations: From one element of the window to the next.
        pads: Top, left, bottom, right, as ONNX has them.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]

    @property
    def reach(self) -> tuple[int, int]:
        """Height and width from the first element to the last."""
        (a, b), (c, d) = self.kernel, self.dilations
        return (a - 1) * c + 1, (b - 1) * d + 1

    def out(self, height: int, width: int) -> tuple[int, int]:
        """Return how many windows fit."""
        (a, b), (top, left, bottom, right) = self.reach, self.pads
        return (
            (height + top + bottom - a) // self.strides[0] + 1,
            (width + left + right - b) // self.strides[1] + 1,
        )


def two_axes(node: Node, x: View) -> View:
    """Return a tensor with height and width: one axis becomes a width.

    Raises:
        LeanUnsupportedError: It has three such axes or more.
    """
    if len(x.shape) == 3:
        strides = (*x.strides[:2], 0, x.strides[2])
        return replace(x, shape=(*x.shape[:2], 1, x.shape[2]), strides=strides)
    if len(x.shape) != 4:
        raise node.refused(f"{len(x.shape) - 2} axes beside batch and channels; 1 or 2 are there")
    return x


def one_axis(x: View, rank: int) -> View:
    """Undo :func:`two_axes`."""
    if rank == 4:
        return x
    return replace(x, shape=(*x.shape[:2], x.shape[3]), strides=(*x.strides[:2], x.strides[3]))


def too_small(node: Node, window: Window, x: View) -> LeanUnsupportedError:
    """Return the error for a window that fits nowhere."""
    what = f"a window of {list(window.reach)} is larger than height and width {list(x.shape[2:])}"
    return node.refused(f"{what} with their pads", hint=MISFIT)


def window_of(node: Node, x: View, kernel: list[int]) -> Window:
    """Read a node's window.

    Args:
        node: The node.
        x: Its input, with height and width.
        kernel: Sizes of the window along the axes that the node has.

    Raises:
        LeanUnsupportedError: A list is of a wrong length, or a number out of bounds.
    """
    axes = len(kernel)
    strides = node.integers("strides", [1] * axes)
    dilations = node.integers("dilations", [1] * axes)
    pads = node.integers("pads", [0] * (2 * axes))
    if not len(strides) == len(dilations) == axes or len(pads) != 2 * axes:
        what = f"strides {strides}, dilations {dilations} and pads {pads} do not fit"
        raise node.refused(f"{what} a kernel of {axes} axes", hint=BROKEN)
    if min(*strides, *dilations, *kernel) < 1 or min(pads) < 0:
        what = f"kernel {kernel}, strides {strides} and dilations {dilations} must be at least 1"
        raise node.refused(f"{what}, and pads {pads} at least 0", hint=BROKEN)
    if axes == 1:
        kernel, strides, dilations = [1, *kernel], [1, *strides], [1, *dilations]
        pads = [0, pads[0], 0, pads[1]]
    plain = Window(_two(kernel), _two(strides), _two(dilations), _four(pads))
    automatic = node.text("auto_pad", "NOTSET")
    if automatic == "NOTSET":
        return plain
    if automatic == "VALID":
        return replace(plain, pads=(0, 0, 0, 0))
    if automatic not in SAME:
        what = f"only NOTSET, VALID, {' and '.join(SAME)}, not {automatic!r}, are there"
        raise node.refused(what, "attribute auto_pad")
    (top, bottom), (left, right) = same_pads(automatic, x.shape[2:], plain.reach, plain.strides)
    return replace(plain, pads=(top, left, bottom, right))


@lowers("Conv")
def conv(builder: Builder, node: Node) -> None:
    """Lower a convolution by constant weights."""
    given = builder.view(node, 0)
    weight = builder.constant(node, 1, "W")
    rank = len(given.shape)
    x = two_axes(node, given)
    if len(weight.shape) != rank:
        what = f"weights of {len(weight.shape)} axes do not fit an input of {rank}"
        raise node.refused(what, "input W", BROKEN)
    window = window_of(node, x, list(weight.shape[2:]))
    if rank == 3:
        weight = weight.seen(lambda a: a[:, :, None, :])
    around = builder.pads.get(node.inputs[0], (0, 0, 0, 0))
    window = replace(window, pads=_four([a + b for a, b in zip(window.pads, around, strict=True)]))
    group = node.integer("group", 1)
    out = weight.shape[0]
    if group < 1 or x.shape[1] != weight.shape[1] * group or out % group:
        raise node.refused(
            f"weights of shape {list(weight.shape)} do not fit {x.shape[1]} channels in {group} "
            "groups",
            hint=MISFIT,
        )
    bias = builder.optional(node, 2, "B")
    weight, bias, last = _with_scales(builder, node, weight, bias)
    fused = activation.following(builder, last)
    function, last = (None, last) if fused is None else fused
    y = _convolve(builder, node, x, weight, bias, window, group, function)
    if function is not None and function.fused == "none":
        y = activation.apply(builder, function, y)
    builder.finish(node, one_axis(y, rank), last if last is not node else None)


def _convolve(
    builder: Builder,
    node: Node,
    x: View,
    weight: Constant,
    bias: Constant | None,
    window: Window,
    group: int,
    function: Function | None,
) -> View:
    """Add the steps of a convolution; limits that XNNPACK has are taken in."""
    height, width = window.out(x.shape[2], x.shape[3])
    if height < 1 or width < 1:
        raise too_small(node, window, x)
    fused: plan.Activation = "none" if function is None else function.fused
    y = builder.new((x.shape[0], weight.shape[0], height, width), NHWC)
    depthwise = group == x.shape[1] and group > 1
    if group == 1 or depthwise:
        _one(builder, builder.dense(x, NHWC), y, weight, bias, window, fused, depthwise)
        return y
    fan, out = weight.shape[1], weight.shape[0] // group
    for g in range(group):
        part = builder.dense(x.sliced(1, g * fan, fan), NHWC)
        own = weight.seen(itemgetter(slice(g * out, (g + 1) * out)))
        some = None if bias is None else bias.seen(itemgetter(slice(g * out, (g + 1) * out)))
        made = builder.new((x.shape[0], out, height, width), NHWC)
        _one(builder, part, made, own, some, window, fused, False)
        builder.copy(made, y.sliced(1, g * out, out))
    return y


def _one(
    builder: Builder,
    x: View,
    y: View,
    weight: Constant,
    bias: Constant | None,
    window: Window,
    fused: plan.Activation,
    depthwise: bool,
) -> None:
    """Add one convolution of XNNPACK; a window of one element is a product."""
    number = None if bias is None else builder.packed(bias)
    images, channels, height, width = x.shape
    plain = replace(window, dilations=(1, 1)) == Window((1, 1), (1, 1), (1, 1), (0, 0, 0, 0))
    if plain and not depthwise:
        builder.step(
            plan.Dense,
            x=x,
            y=y,
            shape=(images * height * width, channels, y.shape[1]),
            weight=builder.packed(weight.seen(lambda a: a[:, :, 0, 0].T)),
            bias=number,
            activation=fused,
        )
        return
    top, left, bottom, right = window.pads
    axes = (2, 3, 1, 0)
    builder.step(
        plan.Convolution,
        x=x,
        y=y,
        shape=(images, height, width, channels),
        out=y.shape[1],
        kernel=window.kernel,
        strides=window.strides,
        dilations=window.dilations,
        pads=(top, right, bottom, left),
        depthwise=depthwise,
        weight=builder.packed(weight.seen(lambda a: a.transpose(axes))),
        bias=number,
        activation=fused,
    )


def _with_scales(
    builder: Builder, node: Node, weight: Constant, bias: Constant | None
) -> tuple[Constant, Constant | None, Node]:
    """Take a BatchNormalization that alone reads the output into the weights' scales."""
    user = builder.only_user(node.outputs[0])
    if user is None or user.op != "BatchNormalization" or user.inputs[0] != node.outputs[0]:
        return weight, bias, node
    factor, shift = normalization(builder, user)
    builder.done.add(user.outputs[0])
    own = np.zeros(len(factor), np.float32) if bias is None else bias.expanded
    moved = Constant(np.asarray(own * factor + shift, dtype=np.float32))
    return weight.scaled(factor.reshape(-1, 1, 1, 1)), moved, user


def normalization(builder: Builder, node: Node) -> tuple[Array, Array]:
    """Return the factor and the shift of each channel that a BatchNormalization is.

    Raises:
        LeanUnsupportedError: It is in training mode, or its statistics are computed.
    """
    if node.integer("training_mode", 0):
        raise node.refused("training is not there", "attribute training_mode")
    gamma, beta, mean, variance = (
        builder.constant(node, i, name).expanded.astype(np.float64)
        for i, name in enumerate(("scale", "B", "input_mean", "input_var"), 1)
    )
    factor = gamma / np.sqrt(variance + node.number("epsilon", 1e-5))
    return factor.astype(np.float32), (beta - mean * factor).astype(np.float32)


@lowers("ConvTranspose")
def conv_transpose(builder: Builder, node: Node) -> None:
    """Lower a transposed convolution: spread with zeros, then a convolution of the turned kernel.

    This is the gradient of a convolution by its input (Dumoulin and Visin 2016, section 4).
    """
    x = builder.view(node, 0)
    weight = builder.constant(node, 1, "W")
    if len(x.shape) != 4 or len(weight.shape) != 4:
        raise node.refused(f"an input of {len(x.shape)} axes; 4 are there")
    if node.integer("group", 1) != 1 or node.text("auto_pad", "NOTSET") != "NOTSET":
        raise node.refused("only one group and given pads are there", "attributes group, auto_pad")
    if "output_shape" in node.attributes:
        raise node.refused("it is not there", "attribute output_shape")
    window = window_of(node, x, list(weight.shape[2:]))
    extra = node.integers("output_padding", [0, 0])
    turned = weight.seen(lambda a: a.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1])
    turned = Constant(np.ascontiguousarray(turned.expanded))
    starts = [r - 1 - p for r, p in zip(window.reach, window.pads[:2], strict=True)]
    ends = [r - 1 - p + e for r, p, e in zip(window.reach, window.pads[2:], extra, strict=True)]
    if min(*starts, *ends) < 0:
        raise node.refused("pads as large as the kernel are not there", "attribute pads")
    spread = _spread(builder, x, window.strides)
    ahead = replace(window, strides=(1, 1), pads=_four([*starts, *ends]))
    bias = builder.optional(node, 2, "B")
    turned, bias, last = _with_scales(builder, node, turned, bias)
    y = _convolve(builder, node, spread, turned, bias, ahead, 1, None)
    builder.finish(node, y, last if last is not node else None)


def _spread(builder: Builder, x: View, strides: tuple[int, int]) -> View:
    """Return a tensor with zeros between its elements."""
    if strides == (1, 1):
        return x
    images, channels, height, width = x.shape
    shape = (images, channels, (height - 1) * strides[0] + 1, (width - 1) * strides[1] + 1)
    y = builder.new(shape, NHWC)
    builder.step(plan.Fill, y=y, size=y.size, value=0.0)
    places = y.sliced(2, 0, height, strides[0]).sliced(3, 0, width, strides[1])
    builder.copy(x, places)
    return View(y.storage, shape, dense_strides(shape, NHWC))


def _two(values: list[int]) -> tuple[int, int]:
    return values[0], values[1]


def _four(values: list[int]) -> tuple[int, int, int, int]:
    return values[0], values[1], values[2], values[3]
