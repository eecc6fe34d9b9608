"""The door for models: a stranger's file comes in whole and checked, or not at all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from sprat.errors import (
    ExternalDataError,
    ModelFormatError,
    ModelNotFoundError,
    OutputError,
    UnsupportedModelError,
)
from sprat.files import write_atomic

#: protobuf cannot hold more, and no web page would load it.
MAX_BYTES = 2**31 - 1
#: Domains of operators that ONNX Runtime brings itself, beside ONNX's own.
_RUNTIME_DOMAINS = {"com.microsoft", "ai.onnx.ml"}
_STANDARD = {"", "ai.onnx"}

#: First bytes of files that people take for ONNX models, and what they are.
_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"<!doctype", "an HTML page: the download saved an error page instead of the model"),
    (b"<html", "an HTML page: the download saved an error page instead of the model"),
    (b"version https://git-lfs", "a Git LFS pointer: run 'git lfs pull'"),
    (b"pk\x03\x04", "a zip archive (a PyTorch checkpoint, or .npz): export it to ONNX first"),
    (b"\x80", "a Python pickle (a PyTorch checkpoint): export it to ONNX first"),
    (b"\x1f\x8b", "gzip: unpack it first"),
    (b"\x89hdf", "HDF5 (a Keras model): export it to ONNX first"),
    (b"{", "JSON"),
    (b"\x89png", "a PNG image"),
)

_ELEMENT_BYTES: dict[int, float] = {
    onnx.TensorProto.FLOAT: 4.0,
    onnx.TensorProto.UINT8: 1.0,
    onnx.TensorProto.INT8: 1.0,
    onnx.TensorProto.UINT16: 2.0,
    onnx.TensorProto.INT16: 2.0,
    onnx.TensorProto.INT32: 4.0,
    onnx.TensorProto.INT64: 8.0,
    onnx.TensorProto.BOOL: 1.0,
    onnx.TensorProto.FLOAT16: 2.0,
    onnx.TensorProto.BFLOAT16: 2.0,
    onnx.TensorProto.DOUBLE: 8.0,
    onnx.TensorProto.UINT32: 4.0,
    onnx.TensorProto.UINT64: 8.0,
    onnx.TensorProto.COMPLEX64: 8.0,
    onnx.TensorProto.COMPLEX128: 16.0,
    onnx.TensorProto.UINT4: 0.5,
    onnx.TensorProto.INT4: 0.5,
    onnx.TensorProto.UINT2: 0.25,
    onnx.TensorProto.INT2: 0.25,
}


def load(path: Path) -> onnx.ModelProto:
    """Load a model with its external data, and check it before anything native touches it.

    Args:
        path: An ``.onnx`` file.

    Returns:
        The model, complete in memory.

    Raises:
        ModelNotFoundError: There is no such file.
        ModelFormatError: It is not ONNX, or damaged.
        ExternalDataError: Its external data is missing, too short, or outside its folder.
        UnsupportedModelError: It uses an operator that does not exist.
    """
    content = _read(path)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except (DecodeError, ValueError, RecursionError) as error:
        raise _not_onnx(path, content) from error
    if not model.graph.node or not model.graph.output:
        raise _not_onnx(path, content)
    _take_in_external_data(model, path)
    check(model, str(path))
    return model


def check(model: onnx.ModelProto, where: str) -> None:
    """Check what native code must be able to rely on: names, sizes, order, operators.

    Args:
        model: A model without external data.
        where: What errors call it.

    Raises:
        ModelFormatError: The model is inconsistent.
        UnsupportedModelError: It uses an operator that does not exist.
    """
    _check_text(model, where)
    opsets = {o.domain or "": o.version for o in model.opset_import}
    if not opsets:
        raise ModelFormatError("it does not say which opset it uses.", where=where)
    _check_names(model, where)
    for tensor in _tensors(model.graph):
        _check_size(tensor, where)
    _check_order(model.graph, set(), where)
    functions = {(f.domain, f.name) for f in model.functions}
    for node in _nodes(model.graph):
        if (node.domain, node.op_type) not in functions:
            _check_operator(node, opsets, where)


def save(model: onnx.ModelProto, path: Path) -> Path:
    """Write a model in one file, by temporary file and rename.

    Args:
        model: The model.
        path: Where it goes.

    Returns:
        ``path``.

    Raises:
        OutputError: It cannot be written, or is above 2 GB.
    """
    if model.ByteSize() > MAX_BYTES:
        raise OutputError("the model is above 2 GB, the limit of protobuf.", where=str(path))
    return write_atomic(path, model.SerializeToString(deterministic=True))


def total_bytes(path: Path) -> bytes:
    """Return a model's file and its external data, one behind the other: what a page downloads.

    Raises:
        ModelNotFoundError: There is no such file.
        ExternalDataError: See :func:`load`.
    """
    content = path.read_bytes()
    if b"location" not in content:
        return content
    model = onnx.ModelProto.FromString(content)
    parts = {e.location for t in _tensors(model.graph) for e in [ExternalDataInfo(t)] if e.location}
    return content + b"".join(_inside(path, name).read_bytes() for name in sorted(parts))


def _read(path: Path) -> bytes:
    if not path.exists():
        raise ModelNotFoundError("there is no such file.", where=str(path))
    if not path.is_file():
        raise ModelNotFoundError("is not a file.", where=str(path), hint="Give the .onnx file.")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ModelFormatError(f"has {size / 1e9:.1f} GB; at most 2 GB load.", where=str(path))
    if size == 0:
        raise ModelFormatError("is empty.", where=str(path), hint="Download or export it again.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelNotFoundError(f"cannot be read: {error.strerror}.", where=str(path)) from error


def _not_onnx(path: Path, content: bytes) -> ModelFormatError:
    head = content[:64].lstrip().lower()
    for magic, name in _FOREIGN:
        if head.startswith(magic):
            return ModelFormatError(f"is not an ONNX model but {name}.", where=str(path))
    if content[8:16].lstrip().startswith(b"{"):
        name = "a safetensors file: it holds weights without a graph"
        return ModelFormatError(f"is not an ONNX model but {name}.", where=str(path))
    return ModelFormatError(
        f"is not a whole ONNX model ({len(content):,} bytes).",
        where=str(path),
        hint="The download was probably cut short: download or export it again.",
    )


def _take_in_external_data(model: onnx.ModelProto, path: Path) -> None:
    total = 0
    for tensor in _tensors(model.graph):
        if not uses_external_data(tensor):
            continue
        info = ExternalDataInfo(tensor)
        file = _inside(path, info.location)
        size = file.stat().st_size
        start = info.offset or 0
        length = info.length if info.length is not None else size - start
        if start < 0 or length < 0 or start + length > size:
            raise ExternalDataError(
                f"tensor {_clean(tensor.name)!r} wants bytes {start} to {start + length} of "
                f"{size}.",
                where=str(file),
                hint="The file was probably cut short: download it again.",
            )
        total += length
        if total > MAX_BYTES:
            raise ExternalDataError("is above 2 GB.", where=str(file))
        with file.open("rb") as stream:
            stream.seek(start)
            tensor.raw_data = stream.read(length)
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def _inside(path: Path, location: str) -> Path:
    """Resolve external data; it may not leave the model's folder, not even by a link."""
    folder = path.resolve().parent
    try:
        file = (folder / location).resolve()
    except (OSError, ValueError) as error:
        raise ExternalDataError(
            f"is no file name: {_clean(location)!r}.", where=str(path)
        ) from error
    if Path(location).is_absolute() or not file.is_relative_to(folder):
        raise ExternalDataError(
            f"its external data {_clean(location)!r} lies outside its folder; that is refused.",
            where=str(path),
        )
    if not file.is_file():
        raise ExternalDataError(
            f"its external data {_clean(location)!r} is missing.",
            where=str(path),
            hint="Copy it beside the model.",
        )
    return file


def _clean(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name)[:80]


def _check_text(message: Message, where: str) -> None:
    """Every string is UTF-8: protobuf hands others over as bytes, which nothing expects."""
    for field, value in message.ListFields():
        values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for inner in value if isinstance(value, Sequence) else [value]:
                _check_text(inner, where)
        elif field.type == FieldDescriptor.TYPE_STRING and not all(
            isinstance(v, str) for v in values
        ):
            raise ModelFormatError(f"holds text in {field.name!r} that is no UTF-8.", where=where)


def _check_names(model: onnx.ModelProto, where: str) -> None:
    values = [*model.graph.input, *model.graph.output]
    names = [v.name for v in values]
    names += [name for node in _nodes(model.graph) for name in (*node.input, *node.output)]
    for name in names:
        if any(ord(c) < 32 for c in name):
            raise ModelFormatError(f"has a control character in {_clean(name)!r}.", where=where)
    for value in values:
        if not value.name:
            raise ModelFormatError("has an input or output without a name.", where=where)


def _check_size(tensor: onnx.TensorProto, where: str) -> None:
    name = _clean(tensor.name)
    if tensor.data_type == onnx.TensorProto.STRING:
        return
    each = _ELEMENT_BYTES.get(tensor.data_type)
    if each is None:
        try:
            each = float(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFormatError(
                f"tensor {name!r} has the unknown type {tensor.data_type}.", where=where
            ) from error
    if any(d < 0 for d in tensor.dims):
        raise ModelFormatError(f"tensor {name!r} has shape {list(tensor.dims)}.", where=where)
    count = math.prod(tensor.dims)
    wanted = math.ceil(count * each)
    typed = (
        len(tensor.float_data)
        + len(tensor.int32_data)
        + len(tensor.int64_data)
        + len(tensor.double_data)
        + len(tensor.uint64_data)
    )
    got = len(tensor.raw_data)
    if got != wanted if got or not typed else typed > 2 * count or typed < count * min(1, each):
        raise ModelFormatError(
            f"tensor {name!r} of shape {list(tensor.dims)} wants {wanted:,} bytes and has "
            f"{got or typed:,}.",
            where=where,
            hint="The file is damaged: download or export it again.",
        )


def _check_order(graph: onnx.GraphProto, outside: set[str], where: str) -> None:
    """Every value is made before it is used, once: no cycles, no undefined inputs."""
    known = set(outside)
    known.update(v.name for v in graph.input)
    known.update(t.name for t in graph.initializer)
    known.update(t.values.name for t in graph.sparse_initializer)
    known.add("")
    made: set[str] = set()
    for node in graph.node:
        for name in node.input:
            if name not in known:
                raise ModelFormatError(
                    f"node {_clean(node.name or node.op_type)!r} uses {_clean(name)!r}, which "
                    "nothing makes before it.",
                    where=where,
                )
        for inner in _subgraphs(node):
            _check_order(inner, known, where)
        for name in node.output:
            if name and (name in made or name in outside):
                raise ModelFormatError(f"value {_clean(name)!r} is made twice.", where=where)
            known.add(name)
            made.add(name)
    for value in graph.output:
        if value.name not in known:
            raise ModelFormatError(f"nothing makes output {_clean(value.name)!r}.", where=where)


def _check_operator(node: onnx.NodeProto, opsets: dict[str, int], where: str) -> None:
    domain = "" if node.domain in _STANDARD else node.domain
    name = _clean(node.op_type)
    place = f"node {_clean(node.name)!r}" if node.name else "a node"
    if domain in _RUNTIME_DOMAINS:
        return
    if domain:
        raise UnsupportedModelError(
            f"{place} uses {_clean(domain)}:{name}, an operator of a domain that neither ONNX nor "
            "ONNX Runtime Web has.",
            where=where,
            hint="Export the model for the plain CPU, without layout or vendor optimization.",
        )
    version = opsets.get("", opsets.get("ai.onnx", 0))
    try:
        onnx.defs.get_schema(node.op_type, version, "")
    except onnx.defs.SchemaError as error:
        raise UnsupportedModelError(
            f"{place} uses the unknown operator {name} (opset {version}).",
            where=where,
            hint="A custom operator cannot run in the browser: export without it.",
        ) from error


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for inner in _subgraphs(node):
            yield from _nodes(inner)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
        for inner in _subgraphs(node):
            yield from _tensors(inner)
