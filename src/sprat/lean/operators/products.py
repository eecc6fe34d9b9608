"""Products of matrices."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from sprat.errors import LeanUnsupportedError
from sprat.lean import plan
from sprat.lean.builder import Builder
from sprat.lean.nodes import BROKEN, MISFIT, Node
from sprat.lean.operators import activation
from sprat.lean.operators.activation import Function
from sprat.lean.operators.elementwise import combine
from sprat.lean.operators.registry import lowers
from sprat.lean.values import Constant, Value, View


@lowers("Gemm")
def gemm(builder: Builder, node: Node) -> None:
    """Lower ``alpha·A·B + beta·C``."""
    a, b = builder.view(node, 0), builder.value(node, 1)
    if len(a.shape) != 2 or len(b.shape) != 2:
        what = f"inputs of shapes {list(a.shape)} and {list(b.shape)} must have two axes each"
        raise node.refused(what, hint=BROKEN)
    if node.integer("transA", 0):
        a = a.transposed((1, 0))
    if node.integer("transB", 0):
        b = b.transposed((1, 0)) if isinstance(b, View) else b.seen(lambda v: v.T)
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    c = builder.value(node, 2) if node.has(2) else None
    if isinstance(c, Constant) and beta != 1.0:
        c = c.scaled(np.float32(beta) * np.ones((), np.float32))
    elif c is not None and beta != 1.0:
        assert isinstance(c, View)
        c = activation.apply(builder, Function("affine", beta, 0.0), c)
    if isinstance(b, Constant) and alpha != 1.0:
        b = b.scaled(np.full((), alpha, np.float32))
    elif alpha != 1.0:
        a = activation.apply(builder, Function("affine", alpha, 0.0), a)
    _product(builder, node, a, b, c)


@lowers("MatMul")
def matmul(builder: Builder, node: Node) -> None:
    """Lower a product of matrices, many at once where there are more axes."""
    a, b = builder.value(node, 0), builder.value(node, 1)
    one_a, one_b = len(a.shape) == 1, len(b.shape) == 1
    if one_a:
        a = _reshape(a, (1, *a.shape))
    if one_b:
        b = _reshape(b, (*b.shape, 1))
    if isinstance(b, Constant) and len(b.shape) == 2:
        x = builder.resident(a) if isinstance(a, Constant) else a
        y = _product(builder, node, x, b, None, finish=not (one_a or one_b))
    else:
        y = _many(builder, node, a, b)
        if not (one_a or one_b):
            builder.finish(node, y)
    if one_a or one_b:
        shape = y.shape[: len(y.shape) - one_a - one_b]
        shape = (
            *y.shape[:-2],
            *([] if one_a else [y.shape[-2]]),
            *([] if one_b else [y.shape[-1]]),
        )
        found = builder.dense(y).reshaped(shape)
        assert found is not None
        builder.finish(node, found)


def _reshape(value: Value, shape: tuple[int, ...]) -> Value:
    if isinstance(value, Constant):
        return value.seen(lambda v: v.reshape(shape))
    strides = (value.strides[0], 0) if shape[-1] == 1 else (0, value.strides[0])
    return replace(value, shape=shape, strides=strides)


def _product(
    builder: Builder, node: Node, x: View, b: Value, c: Value | None, *, finish: bool = True
) -> View:
    """Add a product by a matrix; a constant row that is added, and limits, are taken in."""
    k, n = b.shape
    if x.shape[-1] != k:
        raise _apart(node, x, b)
    if not isinstance(b, Constant):
        y = _many(builder, node, x, b)
        y = y if c is None else combine(builder, "add", y, c)
        builder.finish(node, y)
        return y
    bias, last, taken = None, node, None
    if finish:
        bias, taken = _added_row(builder, node, n, len(x.shape), c)
        last = taken or node
    function = None
    if finish and (c is None or bias is not None):
        fused = activation.following(builder, last)
        if fused is not None:
            function, taken = fused
    x = builder.dense(x)
    rows = math.prod(x.shape[:-1])
    y = builder.step(
        plan.Dense,
        x=x,
        y=builder.new((*x.shape[:-1], n)),
        shape=(rows, k, n),
        weight=builder.packed(b),
        bias=None if bias is None else builder.packed(bias),
        activation="none" if function is None else function.fused,
    )
    if c is not None and bias is None:
        y = combine(builder, "add", y, c)
    if function is not None and function.fused == "none":
        y = activation.apply(builder, function, y)
    if finish:
        builder.finish(node, y, taken)
    return y


def _apart(node: Node, a: Value, b: Value) -> LeanUnsupportedError:
    """Return the error for two tensors that have no product."""
    what = f"shapes {list(a.shape)} and {list(b.shape)} cannot be multiplied"
    return node.refused(what, hint=MISFIT)


def _added_row(
    builder: Builder, node: Node, n: int, rank: int, c: Value | None
) -> tuple[Constant | None, Node | None]:
    """Return the constant row that is added to a product, and the Add that it comes from."""
    if c is not None:
        return _row(c, n), None
    user = builder.only_user(node.outputs[0])
    if user is None or user.op != "Add" or len(user.inputs) != 2:
        return None, None
    other = user.inputs[0] if user.inputs[1] == node.outputs[0] else user.inputs[1]
    value = builder.values.get(other)
    fits = value is not None and len(value.shape) <= rank
    row = _row(value, n) if fits and value is not None else None
    if row is None:
        return None, None
    builder.done.add(user.outputs[0])
    return row, user


def _row(value: Value, n: int) -> Constant | None:
    """Return a constant as a row of n numbers; None where it is no such row."""
    if not isinstance(value, Constant) or value.values.size not in (1, n):
        return None
    if value.values.size == n and value.shape and value.shape[-1] == n:
        return Constant(np.ascontiguousarray(value.expanded, np.float32).reshape(n))
    if value.values.size == 1 and len(value.shape) <= 1:
        return Constant(np.full(n, value.expanded.reshape(-1)[0], np.float32))
    return None


def _many(builder: Builder, node: Node, a: Value, b: Value) -> View:
    """Add products of matrices that are both in memory."""
    x, w = (builder.resident(v) if isinstance(v, Constant) else v for v in (a, b))
    if x.shape[-1] != w.shape[-2]:
        raise _apart(node, x, w)
    batch = tuple(int(d) for d in np.broadcast_shapes(x.shape[:-2], w.shape[:-2]))
    m, k, n = x.shape[-2], x.shape[-1], w.shape[-1]
    count = math.prod(batch)
    x, step_x = _stacked(builder, x, batch)
    w, step_w = _stacked(builder, w, batch)
    return builder.step(
        plan.Multiply,
        x=x,
        b=w,
        y=builder.new((*batch, m, n)),
        shape=(count, m, n, k),
        steps=(m * n, step_x, step_w),
    )


def _stacked(builder: Builder, view: View, batch: tuple[int, ...]) -> tuple[View, int]:
    """Return matrices side by side, and the step between them: 0 where one serves all."""
    size = view.shape[-1] * view.shape[-2]
    if math.prod(view.shape[:-2]) == 1:
        return builder.dense(view), 0
    return builder.dense(view.expanded((*batch, *view.shape[-2:]))), size
