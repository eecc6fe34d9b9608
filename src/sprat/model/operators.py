"""Nodes that say what their operator's schema wants, checked before native code sees them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import onnx
from onnx import AttributeProto

from sprat.errors import ModelFormatError, UnsupportedModelError
from sprat.model.nodes import shown

#: Domains with a schema in onnx, and the one of ONNX Runtime's own operators.
_ONNX_DOMAINS = ("", "ai.onnx.ml")
_RUNTIME_DOMAIN = "com.microsoft"

#: The field of AttributeProto that holds a value of each type.
_VALUE_FIELD = {
    "FLOAT": "f",
    "INT": "i",
    "STRING": "s",
    "TENSOR": "t",
    "GRAPH": "g",
    "TYPE_PROTO": "tp",
    "FLOATS": "floats",
    "INTS": "ints",
    "STRINGS": "strings",
    "TENSORS": "tensors",
    "GRAPHS": "graphs",
    "TYPE_PROTOS": "type_protos",
}
_MESSAGES = {"TENSOR", "GRAPH", "TYPE_PROTO"}
_NOT_VALUES = {"name", "doc_string", "type", "ref_attr_name"}


@dataclass(frozen=True)
class _Schema:
    inputs: tuple[int, int]
    outputs: tuple[int, int]
    attributes: dict[str, str]
    required: tuple[str, ...]


def domain_of(name: str) -> str:
    """Return a domain in its short form: ``ai.onnx`` is the empty one."""
    return "" if name == "ai.onnx" else name


def check_node(node: onnx.NodeProto, opsets: dict[str, int], where: str) -> None:
    """Check that an operator exists, and that a node gives it what it takes.

    Args:
        node: The node; not a call of a function of the model.
        opsets: Version by domain.
        where: What errors call the model.

    Raises:
        UnsupportedModelError: The operator does not exist here.
        ModelFormatError: The node has the wrong number of inputs or outputs, or attributes that
            the operator does not take.
    """
    domain = domain_of(node.domain)
    place = _place(node)
    if domain not in (*_ONNX_DOMAINS, _RUNTIME_DOMAIN):
        raise UnsupportedModelError(
            f"{place} uses {shown(node.op_type)} of the domain {shown(domain)}, which neither ONNX "
            "nor ONNX Runtime Web has.",
            where=where,
            hint="Export the model for the plain CPU, without layout or vendor optimization.",
        )
    if domain not in opsets:
        raise ModelFormatError(
            f"{place} is of the domain {domain or 'ai.onnx'}, whose opset the model does not say.",
            where=where,
        )
    if domain == _RUNTIME_DOMAIN:
        if node.op_type not in _runtime_operators():
            raise _unknown(node, opsets[domain], where)
        return
    schema = _schema(node.op_type, opsets[domain], domain)
    if schema is None:
        raise _unknown(node, opsets[domain], where)
    for word, names, (least, most) in (
        ("inputs", node.input, schema.inputs),
        ("outputs", node.output, schema.outputs),
    ):
        if not least <= len(names) <= most:
            raise ModelFormatError(
                f"{place} has {len(names)} {word}; {node.op_type} takes {least} to {most}.",
                where=where,
            )
    _check_attributes(node, schema, where)


def check_values(node: onnx.NodeProto, where: str) -> None:
    """Check that each attribute holds one value, of the type that it says.

    Args:
        node: Any node.
        where: What errors call the model.

    Raises:
        ModelFormatError: One does not.
        UnsupportedModelError: One is a sparse tensor.
    """
    names = [a.name for a in node.attribute]
    if len(set(names)) < len(names):
        raise ModelFormatError(f"{_place(node)} has an attribute twice.", where=where)
    for attribute in node.attribute:
        kind = AttributeProto.AttributeType.Name(attribute.type)
        fields = {d.name for d, _ in attribute.ListFields()} - _NOT_VALUES
        if kind.startswith("SPARSE"):
            raise UnsupportedModelError(
                f"{_place(node)} has a sparse tensor; those cannot be made small for the web.",
                where=where,
            )
        wanted = set() if attribute.ref_attr_name else {_VALUE_FIELD.get(kind, "")}
        if not fields <= wanted or (kind in _MESSAGES and fields != wanted):
            raise ModelFormatError(
                f"{_place(node)} has the attribute {shown(attribute.name)} without a clear value.",
                where=where,
            )


def _check_attributes(node: onnx.NodeProto, schema: _Schema, where: str) -> None:
    given = {a.name: AttributeProto.AttributeType.Name(a.type) for a in node.attribute}
    for name, kind in given.items():
        if schema.attributes.get(name) != kind:
            raise ModelFormatError(
                f"{_place(node)} has the attribute {shown(name)} of type {kind}; "
                f"{node.op_type} takes {schema.attributes.get(name, 'no such attribute')}.",
                where=where,
                hint="Raise the opset, or export the model again.",
            )
    missing = [name for name in schema.required if name not in given]
    if missing:
        raise ModelFormatError(f"{_place(node)} lacks the attribute {missing[0]!r}.", where=where)


def _place(node: onnx.NodeProto) -> str:
    return f"node {shown(node.name)}" if node.name else "a node without a name"


def _unknown(node: onnx.NodeProto, version: int, where: str) -> UnsupportedModelError:
    domain = domain_of(node.domain) or "ai.onnx"
    return UnsupportedModelError(
        f"{_place(node)} uses {shown(node.op_type)}, an operator that opset {version} of {domain} "
        "does not have.",
        where=where,
        hint="A custom operator cannot run in the browser: export without it.",
    )


@cache
def _schema(operator: str, version: int, domain: str) -> _Schema | None:
    try:
        found = onnx.defs.get_schema(operator, version, domain)
    except onnx.defs.SchemaError:
        return None
    if found.deprecated:
        return None
    return _Schema(
        (found.min_input, found.max_input),
        (found.min_output, found.max_output),
        {name: str(a.type).rpartition(".")[2] for name, a in found.attributes.items()},
        tuple(name for name, a in found.attributes.items() if a.required),
    )


@cache
def _runtime_operators() -> frozenset[str]:
    from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

    return frozenset(s.name for s in get_all_operator_schema() if s.domain == _RUNTIME_DOMAIN)
