"""What native code must be able to rely on: names, order, sizes, operators, bounded expansion.

ONNX Runtime and onnx's own checker are written for models that tools wrote; these checks run
first, so that a stranger's file meets Python with bounds before it meets C++.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from sprat.errors import CostlyModelError, ModelFormatError, UnsupportedModelError
from sprat.limits import MEMORY, NODES, SECONDS, too_large, too_slow
from sprat.model.nodes import all_nodes, all_tensors, names_read, shown, subgraphs
from sprat.model.operators import check_node, check_values, domain_of
from sprat.model.shapes import Shape, infer_shapes
from sprat.model.tensors import MAX_RANK, check_tensor
from sprat.model.work import count_node

#: Text in which line breaks are usual; all other text is names.
_PROSE = {"doc_string", "value", "key"}
#: Calls of functions inside each other.
_MAX_DEPTH = 50
#: Multiply-adds that one slow core makes in a second.
_SLOW_CORE = 1e9
#: Graphs inside each other: protobuf parses 100 messages inside each other, three for a graph.
_MAX_NESTED = 16
#: Bytes of one activation with dynamic dimensions at 1; the runtime's wasm heap has 4 GB.
_MAX_ACTIVATION_BYTES = 1 << 31

Nodes = onnx.GraphProto | onnx.FunctionProto


def check(model: onnx.ModelProto, where: str) -> None:
    """Check a model that came from a stranger.

    Args:
        model: A model without external data that :func:`check_text` passed.
        where: What errors call it.

    Raises:
        ModelFormatError: The model is inconsistent.
        UnsupportedModelError: It uses something that does not exist here.
    """
    graphs: list[tuple[Nodes, dict[str, int]]] = [
        (model.graph, _opsets(model.opset_import, where)),
        *((f, _opsets(f.opset_import, where)) for f in model.functions),
    ]
    functions = {_function_key(f.domain, f.name, f.overload) for f in model.functions}
    for graph, opsets in graphs:
        for node in all_nodes(graph):
            check_values(node, where)
            if graph is model.graph:
                _refuse_references(node, where)
            if _function_key(node.domain, node.op_type, node.overload) not in functions:
                check_node(node, opsets, where)
    for tensor in all_tensors(model):
        check_tensor(tensor, where)
    _check_order(model.graph, set(), where)
    for function in model.functions:
        _check_body(function, where)
    _check_functions(model, where)
    _check_values(model, where)


def check_depth(model: onnx.ModelProto, where: str) -> None:
    """Check that If, Loop and Scan are not nested beyond what libraries can copy and parse.

    Raises:
        UnsupportedModelError: They are.
    """
    bodies: list[Nodes] = [model.graph, *model.functions]
    for body in bodies:
        layer = [inner for node in body.node for inner in subgraphs(node)]
        for _ in range(_MAX_NESTED):
            layer = [inner for graph in layer for n in graph.node for inner in subgraphs(n)]
        if layer:
            raise too_deep(where)


def too_deep(where: str) -> UnsupportedModelError:
    """Return the error of a model whose graphs are nested too deeply."""
    return UnsupportedModelError(
        f"nests If, Loop or Scan too deeply; at most {_MAX_NESTED} inside each other load.",
        where=where,
        hint="Simplify the control flow where the model is made, and export it again.",
    )


def _refuse_references(node: onnx.NodeProto, where: str) -> None:
    """Check that no attribute of a node takes its value from a function that is not there."""
    for attribute in node.attribute:
        if attribute.ref_attr_name:
            raise ModelFormatError(
                f"the attribute {shown(attribute.name)} of node {shown(node.name or node.op_type)} "
                f"refers to the attribute {shown(attribute.ref_attr_name)} of a function, and is "
                "in none.",
                where=where,
                hint="The model is damaged: export it again.",
            )


def check_text(message: Message, where: str) -> None:
    """Check that all text is Unicode, and that names hold nothing that moves a cursor.

    Args:
        message: A model, or any part of one.
        where: What errors call it.

    Raises:
        ModelFormatError: It is not so.
    """
    for field, value in message.ListFields():
        if field.type not in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE):
            continue
        for item in [value] if isinstance(value, str | bytes | Message) else value:
            if isinstance(item, Message):
                check_text(item, where)
            elif isinstance(item, bytes):  # how protobuf hands over text that is no UTF-8
                raise ModelFormatError(f"has a field {field.name!r} that is no text.", where=where)
            elif field.name not in _PROSE and not item.isprintable():
                raise ModelFormatError(f"has a control character in {shown(item)}.", where=where)


def _opsets(imports: Iterable[onnx.OperatorSetIdProto], where: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for entry in imports:
        domain = domain_of(entry.domain)
        if found.setdefault(domain, entry.version) != entry.version or entry.version < 1:
            raise ModelFormatError(
                f"imports version {entry.version} of {shown(domain or 'ai.onnx')}.", where=where
            )
    if not found:
        raise ModelFormatError(
            "does not say which opset it uses.",
            where=where,
            hint="The download was probably cut short: download or export it again.",
        )
    newest = onnx.defs.onnx_opset_version()
    if found.get("", 1) > newest:
        raise UnsupportedModelError(
            f"is of opset {found['']}; at most {newest} is known here.",
            where=where,
            hint="Export it with a lower opset: 17 loads everywhere.",
        )
    return found


def _check_order(graph: onnx.GraphProto, known: set[str], where: str) -> None:
    """Check that every value is made before it is used, and once: no cycles, nothing undefined.

    Args:
        graph: The graph.
        known: Names of the graph around it; they are the same again at the end.
        where: What errors call the model.
    """
    if graph.sparse_initializer:
        raise UnsupportedModelError(
            "has sparse initializers; those cannot be made small for the web.", where=where
        )
    weights = [t.name for t in graph.initializer]
    inputs = [v.name for v in graph.input]
    for names, word in ((weights, "initializer"), (inputs, "input")):
        _refuse_twice(names, known, word, where)
    own = {*weights, *inputs}
    known |= own
    own |= _check_nodes(graph.node, known, where)
    for value in graph.output:
        if value.name not in known:
            raise ModelFormatError(f"nothing makes the output {shown(value.name)}.", where=where)
    known -= own


def _check_nodes(nodes: Iterable[onnx.NodeProto], known: set[str], where: str) -> set[str]:
    made: set[str] = set()
    for node in nodes:
        for name in node.input:
            if name and name not in known:
                raise ModelFormatError(
                    f"node {shown(node.name or node.op_type)} uses {shown(name)}, which nothing "
                    "makes before it.",
                    where=where,
                    hint="The graph has a cycle, or is damaged: export it again.",
                )
        for inner in subgraphs(node):
            _check_order(inner, known, where)
        outputs = [name for name in node.output if name]
        _refuse_twice(outputs, known, "value", where)
        known.update(outputs)
        made.update(outputs)
    return made


def _refuse_twice(names: list[str], known: set[str], word: str, where: str) -> None:
    seen = set()
    for name in names:
        if not name:
            raise ModelFormatError(f"has an {word} without a name.", where=where)
        if name in known or name in seen:
            raise ModelFormatError(f"{word} {shown(name)} is there twice.", where=where)
        seen.add(name)


def _check_body(function: onnx.FunctionProto, where: str) -> None:
    known = set(function.input)
    _check_nodes(function.node, known, where)
    for name in function.output:
        if name not in known:
            raise ModelFormatError(
                f"nothing makes the output {shown(name)} of the function {shown(function.name)}.",
                where=where,
            )


def _function_key(domain: str, name: str, overload: str) -> tuple[str, str, str]:
    return domain_of(domain), name, overload


def _check_functions(model: onnx.ModelProto, where: str) -> None:
    """Check that functions do not call themselves and that expanding them ends in bounds."""
    bodies: dict[tuple[str, str, str], onnx.FunctionProto] = {}
    for function in model.functions:
        key = _function_key(function.domain, function.name, function.overload)
        if bodies.setdefault(key, function) is not function:
            raise ModelFormatError(f"function {shown(function.name)} is there twice.", where=where)
    calls = {
        key: [_function_key(n.domain, n.op_type, n.overload) for n in all_nodes(body)]
        for key, body in bodies.items()
    }
    try:
        order = TopologicalSorter({k: [c for c in v if c in bodies] for k, v in calls.items()})
        keys = tuple(order.static_order())
    except CycleError as error:
        raise ModelFormatError("has a function that calls itself.", where=where) from error
    sizes: dict[tuple[str, str, str], int] = {}
    depths: dict[tuple[str, str, str], int] = {}
    for key in keys:
        sizes[key] = sum(sizes.get(c, 1) for c in calls[key])
        depths[key] = 1 + max((depths.get(c, 0) for c in calls[key]), default=0)
    main = [_function_key(n.domain, n.op_type, n.overload) for n in all_nodes(model.graph)]
    total = sum(sizes.get(key, 1) for key in main)
    if total > (most := NODES.of(0)):
        raise CostlyModelError(
            f"has {min(total, 10**12):,} nodes, functions expanded; at most {most:,.0f} load.",
            where=where,
            hint=NODES.hint,
        )
    if max(depths.values(), default=0) > _MAX_DEPTH:
        raise UnsupportedModelError(
            f"has functions more than {_MAX_DEPTH} deep inside functions.", where=where
        )


def _check_values(model: onnx.ModelProto, where: str) -> None:
    """Check that no input and no activation is absurdly large."""
    values = (*model.graph.input, *model.graph.output, *model.graph.value_info)
    for value in values:
        if len(value.type.tensor_type.shape.dim) > MAX_RANK:
            raise ModelFormatError(
                f"value {shown(value.name)} has more than {MAX_RANK} axes.", where=where
            )
    shapes = infer_shapes(model)
    for name, shape in shapes.items():
        size = 4 * math.prod(shape)
        if size > _MAX_ACTIVATION_BYTES:
            raise UnsupportedModelError(
                f"value {shown(name)} has the shape {list(shape)}, about {size / 1e9:,.0f} GB; no "
                "browser holds that.",
                where=where,
            )
    _check_constants(model, shapes, where)


def _check_constants(model: onnx.ModelProto, shapes: dict[str, Shape], where: str) -> None:
    """Check that what a runtime computes once, when it opens the model, is bounded."""
    known = {t.name for t in model.graph.initializer}
    size, work = 0, 0
    for node in model.graph.node:
        if known.issuperset(name for name in names_read(node) if name):
            known.update(node.output)
            size += sum(4 * math.prod(shapes.get(name, ())) for name in node.output)
            work += count_node(node, shapes) or 0
    bytes_of_model = model.ByteSize()
    if size > 1e9 * (memory := MEMORY.of(bytes_of_model)):
        raise too_large("computing its constants", where, memory)
    if work > _SLOW_CORE * (seconds := SECONDS.of(bytes_of_model)):
        raise too_slow("computing its constants", where, seconds)
