"""The program as it grows: values by name, steps in order, constants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sprat.errors import LeanUnsupportedError
from sprat.lean import memory, plan
from sprat.lean.nodes import BROKEN, Node
from sprat.lean.values import Constant, Shape, Storage, Value, View, dense_strides, merge_axes
from sprat.lean.weights import Weights

#: Axes of the kernel that walks two tensors.
_AXES = 6
#: Elements in a row below which the kernel spends its time between rows.
_SHORT = 8


@dataclass(frozen=True)
class Draft:
    """A step whose places are not decided.

    Attributes:
        model: Its class in :mod:`sprat.lean.plan`.
        places: Its tensors by field; ``y`` is written.
        fields: All other fields.
        in_place: Writes each element where it read it from ``x``.
    """

    model: type[Any]
    places: dict[str, View]
    fields: dict[str, Any]
    in_place: bool = False


@dataclass
class Builder:
    """Lowers nodes to steps.

    Attributes:
        values: Every value so far, by name.
        users: The nodes that read a value, by name.
        kept: Names of the graph's outputs.
        done: Outputs of nodes that another node has taken in.
        pads: Zeros that a convolution is to add to a value: top, left, bottom, right.
    """

    values: dict[str, Value] = field(default_factory=dict)
    users: dict[str, list[Node]] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    done: set[str] = field(default_factory=set)
    pads: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)
    drafts: list[Draft] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)
    residents: list[tuple[int, Storage]] = field(default_factory=list)
    weights: Weights = field(default_factory=Weights)
    _known: dict[tuple[Any, ...], View] = field(default_factory=dict)
    _held: list[Constant] = field(default_factory=list)

    # values

    def value(self, node: Node, index: int) -> Value:
        """Return an input of a node, known or not.

        Raises:
            LeanUnsupportedError: It is left out.
        """
        if not node.has(index):
            raise node.refused("it is left out and must be given", f"input {index + 1}", BROKEN)
        return self.values[node.inputs[index]]

    def constant(self, node: Node, index: int, what: str) -> Constant:
        """Return an input of a node that must be known.

        Raises:
            LeanUnsupportedError: It is computed, or left out.
        """
        found = self.value(node, index)
        if not isinstance(found, Constant):
            raise node.refused(f"{what} must be constant; it is computed", f"input {what}")
        return found

    def optional(self, node: Node, index: int, what: str) -> Constant | None:
        """Return an input that must be known where it is given."""
        return self.constant(node, index, what) if node.has(index) else None

    def view(self, node: Node, index: int) -> View:
        """Return an input of a node as a tensor in memory; a constant becomes resident."""
        found = self.value(node, index)
        return self.resident(found) if isinstance(found, Constant) else found

    def only_user(self, name: str) -> Node | None:
        """Return the one node that reads a value, where no other does and it is no output."""
        users = self.users.get(name, [])
        return users[0] if len(users) == 1 and name not in self.kept else None

    def finish(self, node: Node, value: Value, taken: Node | None = None) -> None:
        """Say what a node's output is; ``taken`` is the last node that was taken in with it."""
        last = taken or node
        self.values[last.outputs[0]] = value
        if taken is not None:
            self.done.add(taken.outputs[0])

    # places

    def new(self, shape: Sequence[int], order: Sequence[int] | None = None) -> View:
        """Return memory for a tensor, dense in an order of axes (ONNX's own by default)."""
        axes = range(len(shape)) if order is None else order
        size = int(np.prod(shape, dtype=object)) if shape else 1
        return View(Storage(size), tuple(shape), dense_strides(shape, axes))

    def resident(self, constant: Constant) -> View:
        """Return memory that holds a constant, dense in its own order of axes."""
        key = (id(constant.values), id(constant.scale), constant.shape)
        if key not in self._known:
            storage = Storage(int(constant.values.size), resident=True)
            self.residents.append((self.packed(constant), storage))
            axes = range(len(constant.shape))
            view = View(storage, constant.shape, dense_strides(constant.shape, axes))
            self._known[key] = view
            self._held.append(constant)
        return self._known[key]

    def table(self, indices: Any) -> int:
        """Return the number of a constant that is a table of indices."""
        found = Constant(np.asarray(indices, dtype=np.int32))
        return self._entry(self.weights.add(found, integers=True))

    def packed(self, constant: Constant) -> int:
        """Return the number of a constant, seen as a kernel wants it.

        Raises:
            LeanUnsupportedError: It has no elements.
        """
        if constant.values.size == 0:
            raise LeanUnsupportedError("an empty tensor is not there")
        return self._entry(self.weights.add(constant))

    def _entry(self, fields: dict[str, Any]) -> int:
        self.entries.append(fields)
        return len(self.entries) - 1

    # steps

    def add(self, draft: Draft) -> View:
        """Add a step, and return what it writes."""
        self.drafts.append(draft)
        return draft.places["y"]

    def step(self, model: type[Any], /, *, in_place: bool = False, **fields: Any) -> View:
        """Add a step from its fields; those that are tensors become places."""
        places = {k: v for k, v in fields.items() if isinstance(v, View)}
        rest = {k: v for k, v in fields.items() if not isinstance(v, View)}
        return self.add(Draft(model, places, rest, in_place))

    def dense(self, view: View, order: Sequence[int] | None = None) -> View:
        """Return a tensor dense in an order of axes, copied where it is not."""
        axes = tuple(range(len(view.shape))) if order is None else tuple(order)
        if view.is_dense(axes):
            return view
        return self.copy(view, self.new(view.shape, axes))

    def copy(self, x: View, y: View) -> View:
        """Copy a tensor into a place of its shape."""
        y.storage.integers |= x.storage.integers
        return self.walk("copy", x, None, y)

    def walk(
        self,
        kind: plan.Binary,
        x: View,
        b: View | None,
        y: View,
        limits: tuple[float | None, float | None] = (None, None),
    ) -> View:
        """Add a step over two tensors that broadcast to a third's shape.

        Raises:
            LeanUnsupportedError: It cannot be walked over six axes.
        """
        x = x.expanded(y.shape)
        b = b.expanded(y.shape) if b is not None else None
        order = y.order
        all_strides = [[v.strides[a] for a in order] for v in (y, x, b) if v is not None]
        shape, merged = merge_axes([y.shape[a] for a in order], all_strides)
        if len(shape) > _AXES:
            raise LeanUnsupportedError(
                f"reordering or repeating a tensor of shape {list(y.shape)} needs {len(shape)} "
                f"axes; {_AXES} are there"
            )
        shape, merged = _long_rows(shape, merged)
        rest = _AXES - len(shape)
        strides = [(*[0] * rest, *m) for m in merged]
        places = {"x": x, "b": b if b is not None else x, "y": y}
        fields: dict[str, Any] = {
            "kind": kind,
            "shape": (*[1] * rest, *shape),
            "sy": strides[0],
            "sx": strides[1],
            "low": limits[0],
            "high": limits[1],
        }
        if b is not None:
            fields["sb"] = strides[2]
        same = strides[0] == strides[1] and y.size == y.storage.size == x.storage.size
        return self.add(Draft(plan.BinaryStep, places, fields, in_place=same))

    # the end

    def assemble(
        self, inputs: list[tuple[str, plan.Type, View]], outputs: list[tuple[str, View]]
    ) -> tuple[plan.Plan, bytes]:
        """Decide all places, and return the plan with the weights' file."""
        merged = self._merge_in_place({v.storage for _, v in outputs})
        lives: dict[Storage, memory.Lifetime] = {}

        def touch(view: View, index: int) -> None:
            storage = merged.get(view.storage, view.storage)
            if storage.resident:
                return
            one = lives.setdefault(storage, memory.Lifetime(storage, index, index))
            one.first, one.last = min(one.first, index), max(one.last, index)

        for _, _, view in inputs:
            touch(view, -1)
        for index, draft in enumerate(self.drafts):
            for view in draft.places.values():
                touch(view, index)
        for _, view in outputs:
            touch(view, len(self.drafts))
        total = memory.place(lives.values())
        for number, storage in self.residents:
            storage.at = self.entries[number]["to"] = total
            total += memory.aligned(storage.size)

        def at(view: View) -> int:
            return merged.get(view.storage, view.storage).at + view.offset

        steps = [
            d.model(**{k: at(v) for k, v in d.places.items()}, **d.fields) for d in self.drafts
        ]
        made = plan.Plan(
            memory=max(total, 1),
            bytes=len(self.weights.content),
            inputs=tuple(
                plan.Tensor(name=n, type=t, shape=v.shape, at=at(v)) for n, t, v in inputs
            ),
            outputs=tuple(plan.Tensor(name=n, shape=v.shape, at=at(v)) for n, v in outputs),
            constants=tuple(plan.ConstantEntry(**e) for e in self.entries),
            steps=tuple(steps),
        )
        return made, bytes(self.weights.content)

    def _merge_in_place(self, kept: set[Storage]) -> dict[Storage, Storage]:
        """Let a step write where it read, when nothing reads there afterwards."""
        last: dict[Storage, int] = {}
        first: dict[Storage, int] = {}
        for index, draft in enumerate(self.drafts):
            for view in draft.places.values():
                last[view.storage] = index
                first.setdefault(view.storage, index)
        merged: dict[Storage, Storage] = {}
        for index, draft in enumerate(self.drafts):
            x, y = draft.places.get("x"), draft.places["y"]
            if not draft.in_place or x is None or x.storage is y.storage or x.storage.resident:
                continue
            own = merged.get(x.storage, x.storage)
            free = last[x.storage] == index and first[y.storage] == index
            b = draft.places.get("b", x)
            apart = b.storage is not x.storage or b.strides == x.strides
            whole = x.offset == y.offset == 0 and x.storage.size == y.storage.size
            if free and apart and whole and not {own, x.storage} & kept:
                merged[y.storage] = own
        return merged


def _long_rows(shape: Shape, strides: Sequence[Shape]) -> tuple[Shape, list[Shape]]:
    """Put the longest axis innermost where the rows would be short: the three of an image."""
    if not shape or shape[-1] >= _SHORT:
        return shape, list(strides)
    longest = max(range(len(shape)), key=lambda a: shape[a])
    order = [*(a for a in range(len(shape)) if a != longest), longest]
    return tuple(shape[a] for a in order), [tuple(s[a] for a in order) for s in strides]
