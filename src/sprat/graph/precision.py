"""Models of another precision: float16, bfloat16 and float64 become float32 inside.

The methods here, ONNX Runtime's quantizers and its CPU kernels are made for float32. What a page
gives and takes stays as it is: where an input or output is of another precision, a Cast stands at
the border. No library at hand has this direction; the usual converters only narrow to float16.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, inliner, numpy_helper

from sprat.errors import FaultyResultError, UnsupportedModelError
from sprat.model.nodes import all_nodes, dtype_name, names_read, subgraphs
from sprat.model.result import checked_result
from sprat.model.session import open_session

_FLOAT = TensorProto.FLOAT
_OTHERS = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
#: A model is of a precision where a weight of so many elements is; a few constants, as exporters
#: leave them, make none.
_LEAST_ELEMENTS = 1024
#: Integer attributes that name an element type.
_TYPE_ATTRIBUTES = frozenset({"to", "dtype", "output_datatype", "output_dtype", "stash_type"})
_LARGEST = float(np.finfo(np.float32).max)


def other_precisions(model: onnx.ModelProto) -> tuple[int, ...]:
    """Return the precisions, other than float32, in which a model computes.

    Args:
        model: Any model.

    Returns:
        ONNX element types of weights, and of inputs and outputs but those behind a Cast at the
        border, sorted; none where the model is float32 inside or holds no floats.
    """
    cast = _cast_at_border(model.graph)
    found = {v.type.tensor_type.elem_type for v in _faces(model) if v.name not in cast}
    found |= {t.data_type for t in _weights(model) if _elements(t) >= _LEAST_ELEMENTS}
    return tuple(sorted(found & set(_OTHERS)))


def precision_note(model: onnx.ModelProto) -> str:
    """Say in words what :func:`to_float32` does to a model; empty where it does nothing."""
    kinds = other_precisions(model)
    if not kinds:
        return ""
    kept = any(value.type.tensor_type.elem_type in kinds for value in _faces(model))
    rest = "; inputs and outputs keep their types" if kept else ""
    what = "the model is" if kept else "the model's weights are"
    return f"{what} {_names_of(kinds)}: what is made of it computes in float32{rest}"


def _cast_at_border(graph: onnx.GraphProto) -> set[str]:
    """Return the inputs that only Casts to float32 read, and the outputs that a Cast makes."""
    casts = {id(node) for node in graph.node if node.op_type == "Cast"}
    to_float = {id(n) for n in graph.node if id(n) in casts and _to(n) == _FLOAT}
    others = {name for n in graph.node if id(n) not in to_float for name in names_read(n)}
    made = {name for node in graph.node if id(node) in casts for name in node.output}
    return ({v.name for v in graph.input} - others) | made


def _names_of(kinds: Iterable[int]) -> str:
    return " and ".join(dtype_name(kind) for kind in kinds)


def _faces(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Return what callers see: inputs that are no weights, and outputs."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [*(v for v in model.graph.input if v.name not in weights), *model.graph.output]


def to_float32(model: onnx.ModelProto) -> onnx.ModelProto:
    """Make a model of another precision compute in float32.

    float16 and bfloat16 widen without loss. float64 narrows to the nearest float32; numbers beyond
    its range, which mask attention, become the largest of it.

    Args:
        model: Any model.

    Returns:
        A model with the same names and types of inputs and outputs; the given one where it is of
        no other precision.
    """
    kinds = set(other_precisions(model))
    if not kinds or _has_other_containers(model, kinds):
        return model
    out = inliner.inline_local_functions(model) if model.functions else onnx.ModelProto()
    if not model.functions:
        out.CopyFrom(model)
    faces = {value.name: value.type.tensor_type.elem_type for value in _faces(out)}
    _convert_graph(out.graph, kinds)
    _drop_idle_casts(out.graph)
    _restore_faces(out.graph, {name: kind for name, kind in faces.items() if kind in kinds})
    return out


def in_float32(model: onnx.ModelProto) -> tuple[onnx.ModelProto, str]:
    """Return what methods for float32 start from, with a note in words.

    Args:
        model: Any model.

    Returns:
        The model in float32, and that it is so; the model itself and an empty note where it is of
        no other precision; the model itself and the reason where it cannot be brought to float32.
    """
    note = precision_note(model)
    if not note:
        return model, ""
    try:
        return checked_result(to_float32(model), model, made_by="float32"), note
    except FaultyResultError as error:
        names = _names_of(other_precisions(model))
        return model, f"the model is {names}, and cannot be brought to float32: {error.what}"


def runnable(model: onnx.ModelProto) -> tuple[onnx.ModelProto, str]:
    """Return a model that stands for one whose precision ONNX Runtime cannot run.

    Its CPU kernels lack some operators in float16, bfloat16 and float64: Conv in float64, say.

    Args:
        model: Any model.

    Returns:
        The model, and an empty note; its float32 form and a note where only that opens.

    Raises:
        UnsupportedModelError: Neither opens.
    """
    kinds = other_precisions(model)
    if not kinds:
        return model, ""
    try:
        open_session(model)
    except UnsupportedModelError:
        made = to_float32(model)
        open_session(made)
        return made, (
            f"ONNX Runtime cannot run the model in {_names_of(kinds)} here: its float32 form "
            "stands for it; inputs and outputs keep their types"
        )
    return model, ""


def _has_other_containers(model: onnx.ModelProto, kinds: set[int]) -> bool:
    """Say whether an input or output is a sequence or optional of such a type: no Cast fits."""
    return any(
        not v.type.HasField("tensor_type") and _element(v.type) in kinds for v in _faces(model)
    )


def _convert_graph(graph: onnx.GraphProto, kinds: set[int]) -> None:
    """Convert a graph and those inside it, in place."""
    for tensor in graph.initializer:
        _convert_tensor(tensor, kinds)
    for value in (*graph.input, *graph.output):
        _convert_type(value.type, kinds)
    del graph.value_info[:]
    for node in graph.node:
        for attribute in node.attribute:
            _convert_attribute(attribute, kinds)
        for inner in subgraphs(node):
            _convert_graph(inner, kinds)


def _convert_attribute(attribute: onnx.AttributeProto, kinds: set[int]) -> None:
    if attribute.name in _TYPE_ATTRIBUTES and attribute.i in kinds:
        attribute.i = _FLOAT
    if attribute.HasField("t"):
        _convert_tensor(attribute.t, kinds)
    if attribute.HasField("tp"):
        _convert_type(attribute.tp, kinds)


def _convert_tensor(tensor: onnx.TensorProto, kinds: set[int]) -> None:
    if tensor.data_type not in kinds:
        return
    values = numpy_helper.to_array(tensor)
    if values.dtype == np.float64:
        values = np.where(np.isfinite(values), np.clip(values, -_LARGEST, _LARGEST), values)
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))


def _convert_type(kind: onnx.TypeProto, kinds: set[int]) -> None:
    """Convert a tensor's type, or that of what a sequence or optional holds."""
    field = kind.WhichOneof("value")
    if field == "tensor_type":
        if kind.tensor_type.elem_type in kinds:
            kind.tensor_type.elem_type = _FLOAT
    elif field in ("sequence_type", "optional_type"):
        _convert_type(getattr(kind, field).elem_type, kinds)


def _element(kind: onnx.TypeProto) -> int:
    field = kind.WhichOneof("value")
    if field in ("sequence_type", "optional_type"):
        return _element(getattr(kind, field).elem_type)
    return kind.tensor_type.elem_type if field == "tensor_type" else 0


def _drop_idle_casts(graph: onnx.GraphProto) -> None:
    """Drop Casts of weights that are float32 now, so that their users see the weights."""
    known = {t.name for t in graph.initializer if t.data_type == _FLOAT}
    known |= {
        node.output[0]
        for node in graph.node
        if node.op_type == "Constant" and any(a.t.data_type == _FLOAT for a in node.attribute)
    }
    results = {value.name for value in graph.output}
    idle = {
        node.output[0]: node.input[0]
        for node in graph.node
        if node.op_type == "Cast"
        and node.input[0] in known
        and node.output[0] not in results
        and _to(node) == _FLOAT
    }
    kept = [n for n in graph.node if n.op_type != "Cast" or n.output[0] not in idle]
    _rename(kept, idle)
    del graph.node[:]
    graph.node.extend(kept)


def _restore_faces(graph: onnx.GraphProto, faces: dict[str, int]) -> None:
    """Give inputs and outputs their own types back, with a Cast at the border."""
    inputs = {v.name for v in graph.input} - {t.name for t in graph.initializer}
    taken = set(_all_names(graph))
    inner = {name: _free_name(f"{name}_float32", taken) for name in faces}
    _rename(graph.node, inner)
    for node in graph.node:
        node.output[:] = [inner.get(name, name) for name in node.output]
    for tensor in graph.initializer:
        tensor.name = inner.get(tensor.name, tensor.name)
    for value in graph.input:
        value.name = value.name if value.name in inputs else inner.get(value.name, value.name)
    before = [_cast(name, inner[name], _FLOAT) for name in faces if name in inputs]
    after = [
        _cast(inner[v.name], v.name, faces[v.name])
        for v in graph.output
        if v.name in faces and v.name not in inputs
    ]
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    for value in (*graph.input, *graph.output):
        if value.name in faces:
            value.type.tensor_type.elem_type = faces[value.name]


def _cast(source: str, target: str, to: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"{target}_cast", to=to)


def _to(node: onnx.NodeProto) -> int:
    return next((a.i for a in node.attribute if a.name == "to"), 0)


def _rename(nodes: Iterable[onnx.NodeProto], names: dict[str, str]) -> None:
    """Rename what nodes read, the bodies of If, Loop and Scan included."""
    for node in nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
        for graph in subgraphs(node):
            _rename(graph.node, names)
            for value in graph.output:
                value.name = names.get(value.name, value.name)


def _all_names(graph: onnx.GraphProto) -> Iterator[str]:
    yield from (value.name for value in (*graph.input, *graph.output))
    yield from (tensor.name for tensor in graph.initializer)
    for node in all_nodes(graph):
        yield from (*node.input, *node.output, node.name)


def _free_name(wish: str, taken: set[str]) -> str:
    while wish in taken:
        wish += "_"
    taken.add(wish)
    return wish


def _weights(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from model.graph.initializer
    bodies: list[onnx.GraphProto | onnx.FunctionProto] = [model.graph, *model.functions]
    for body in bodies:
        for node in all_nodes(body):
            yield from (a.t for a in node.attribute if a.HasField("t"))
            for graph in subgraphs(node):
                yield from graph.initializer


def _elements(tensor: onnx.TensorProto) -> int:
    return int(np.prod(tensor.dims, dtype=np.int64))
