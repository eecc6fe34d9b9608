"""``plan.json``: what the lean runtime executes.

The JSON Schema made from :class:`Plan` is published as ``docs/plan.schema.json``; the executor in
``web/src/lean`` reads the same. Places in memory (``x``, ``y`` …) are counted in float32; what is
at its default is left out of the file.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import GenerateJsonSchema

#: How a number is stored in the weights' file; the index is what the kernel is told.
Stored = Literal["float32", "float16", "int32", "int8", "uint8", "int4", "uint4"]
Type = Literal["float32", "int32", "int64", "uint8", "bool"]
Activation = Literal["none", "relu", "relu6"]
Unary = Literal[
    "clip", "leaky", "sigmoid", "hardsigmoid", "hardswish", "silu", "tanh", "erf", "gelu",
    "gelutanh", "exp", "sqrt", "abs", "reciprocal", "floor", "ceil", "elu", "affine", "log", "sin",
    "cos", "power", "square", "round", "softplus",
]  # fmt: skip
Binary = Literal["copy", "add", "sub", "mul", "div", "min", "max", "prelu", "pow"]
Reduction = Literal["sum", "mean", "max", "min", "prod", "squares"]

At = Annotated[int, Field(ge=0, description="Place in memory, in float32.")]
Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0, description="Index in constants.")]
Pair = tuple[Count, Count]
Four = tuple[int, int, int, int]
Sizes = tuple[Count, Count, Count, Count]
Six = tuple[int, int, int, int, int, int]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Scales(_Part):
    """Scales of stored integers, and their zero points: float32 in the weights' file."""

    at: int = Field(ge=0, description="Byte in the weights' file.")
    zero: int | None = Field(default=None, ge=0, description="Byte of the zero points.")
    strides: Four = Field(description="From one scale to the next along each axis of the constant.")


class ConstantEntry(_Part):
    """Numbers of the weights' file, expanded to float32 on arrival."""

    at: int = Field(ge=0, description="Byte in the weights' file.")
    kind: Stored
    shape: Sizes = Field(description="As the kernel wants it, the last axis innermost.")
    start: int = Field(default=0, ge=0, description="Elements from `at` to the first.")
    strides: Four = Field(description="Elements from one index to the next along each axis.")
    scales: Scales | None = None
    to: At | None = Field(default=None, description="Stays there; else it is packed by one step.")
    integers: bool = Field(default=False, description="Kept as int32: a table of indices.")


class Tensor(_Part):
    """One input or output of the model; dense, in ONNX's order of axes."""

    name: str
    type: Type = "float32"
    shape: tuple[Count, ...]
    at: At


class Convolution(_Part):
    """XNNPACK's convolution of NHWC; ``depthwise`` with ``out / in[3]`` filters for a channel."""

    op: Literal["conv"] = "conv"
    x: At
    y: At
    shape: Sizes = Field(description="Of x: images, height, width, channels.")
    out: Count = Field(description="Channels of y.")
    kernel: Pair
    strides: Pair = (1, 1)
    dilations: Pair = (1, 1)
    pads: Four = Field(default=(0, 0, 0, 0), description="Top, right, bottom, left.")
    depthwise: bool = False
    weight: Index = Field(description="Height, width, in, out; depthwise: height, width, in, times")
    bias: Index | None = None
    activation: Activation = "none"


class Dense(_Part):
    """XNNPACK's product of rows by constant weights."""

    op: Literal["dense"] = "dense"
    x: At
    y: At
    shape: tuple[Count, Count, Count] = Field(description="Rows, columns of x, columns of y.")
    weight: Index = Field(description="In, out.")
    bias: Index | None = None
    activation: Activation = "none"


class Multiply(_Part):
    """Products of two matrices that are both computed."""

    op: Literal["multiply"] = "multiply"
    x: At
    b: At
    y: At
    shape: Sizes = Field(description="Products, rows of x, columns of b, columns of x.")
    steps: tuple[int, int, int] = Field(description="From product to product: y, x, b.")


class UnaryStep(_Part):
    """A function of each element."""

    op: Literal["unary"] = "unary"
    kind: Unary
    x: At
    y: At
    size: Count
    a: float | None = Field(default=None, description="First parameter; clip: the lower limit.")
    b: float | None = Field(default=None, description="Second parameter; clip: the upper limit.")


class BinaryStep(_Part):
    """A function of two tensors element by element, or a copy of x; then limits."""

    op: Literal["binary"] = "binary"
    kind: Binary
    x: At
    b: At
    y: At
    shape: tuple[Count, Count, Count, Count, Count, Count]
    sy: Six
    sx: Six
    sb: Six = (0, 0, 0, 0, 0, 0)
    low: float | None = None
    high: float | None = None


class Fill(_Part):
    """One value everywhere."""

    op: Literal["fill"] = "fill"
    y: At
    size: Count
    value: float | None = Field(default=None, description="None is minus infinity.")


class Reduce(_Part):
    """Reduction of the middle of three axes."""

    op: Literal["reduce"] = "reduce"
    kind: Reduction
    x: At
    y: At
    shape: tuple[Count, Count, Count]


class SoftmaxStep(_Part):
    """Softmax of rows, or its logarithm."""

    op: Literal["softmax"] = "softmax"
    x: At
    y: At
    shape: tuple[Count, Count]
    logarithm: bool = False


class Normalize(_Part):
    """Rows brought to mean 0 and variance 1, then times gamma plus beta."""

    op: Literal["normalize"] = "normalize"
    x: At
    y: At
    gamma: At
    beta: At
    shape: tuple[Count, Count]
    shared: int = Field(default=0, ge=0, description="Rows in turn with one gamma each; 0: none.")
    epsilon: float


class Gather(_Part):
    """Indices of the middle of three axes, linear between two."""

    op: Literal["gather"] = "gather"
    x: At
    y: At
    shape: tuple[Count, Count, Count] = Field(description="Of x: outer, the axis, inner.")
    count: Count
    low: Index = Field(description="The index, in each place.")
    high: Index = Field(description="The next index.")
    weight: Index = Field(description="The share of the next.")


class Embed(_Part):
    """Rows of a table, at indices that are computed or come with the input."""

    op: Literal["embed"] = "embed"
    x: At = Field(description="The table.")
    b: At = Field(description="The indices.")
    y: At
    shape: tuple[Count, Count, Count] = Field(description="Rows, columns, number of indices.")


class Pool(_Part):
    """Maximum or mean over windows of NHWC."""

    op: Literal["pool"] = "pool"
    kind: Literal["max", "mean"]
    x: At
    y: At
    shape: Sizes = Field(description="Of x: images, height, width, channels.")
    out: Pair = Field(description="Height and width of y.")
    kernel: Pair
    strides: Pair = (1, 1)
    dilations: Pair = (1, 1)
    pads: tuple[int, int] = Field(default=(0, 0), description="Top, left.")
    counted: tuple[int, int] | None = Field(
        default=None, description="Height and width up to which padding counts in a mean."
    )


Step = Annotated[
    Convolution | Dense | Multiply | UnaryStep | BinaryStep | Fill | Reduce | SoftmaxStep
    | Normalize | Gather | Embed | Pool,
    Field(discriminator="op"),
]  # fmt: skip


class Plan(_Part):
    """The whole program."""

    sprat: Literal["lean-1"] = "lean-1"
    memory: Count = Field(description="Float32 of the one memory: activations, then constants.")
    bytes: int = Field(ge=0, description="Of the weights' file.")
    inputs: tuple[Tensor, ...] = Field(min_length=1)
    outputs: tuple[Tensor, ...] = Field(min_length=1)
    constants: tuple[ConstantEntry, ...] = ()
    steps: tuple[Step, ...] = ()


def plan_text(plan: Plan) -> str:
    """Return a plan as JSON text, without what is at its default."""
    content = plan.model_dump(mode="json", exclude_defaults=True)
    content["sprat"] = plan.sprat
    for entry, step in zip(content.get("steps", ()), plan.steps, strict=True):
        entry["op"] = step.op
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False) + "\n"


def schema_text() -> str:
    """Return the JSON Schema as it is published in ``docs/plan.schema.json``."""
    schema: dict[str, Any] = {
        "$schema": GenerateJsonSchema.schema_dialect,
        **Plan.model_json_schema(),
    }
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"
