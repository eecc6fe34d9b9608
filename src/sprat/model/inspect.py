"""What a model is: size, layers, inputs, outputs, waste, and what it costs on the wire."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import onnx

from sprat.model.load import load, total_bytes
from sprat.model.nodes import dtype_name, initializer_bytes, printable
from sprat.model.waste import find_waste
from sprat.model.wire import (
    NETWORKS_MBPS,
    RUNTIME_BROTLI_BYTES,
    WireBytes,
    download_seconds,
    wire_bytes,
)
from sprat.model.work import multiply_adds
from sprat.progress import Progress, silent

#: Weights of nodes without multiply-adds are layers only from this many bytes on.
_SMALL = 4096
#: What to expect of a model that was not tried: br-11 bits a weight that usually hold a point.
_BITS_PLAIN = 0.5
_BITS_COMPACT = 3.5
_INT8_SHARE = 0.85
_GRAPH_BYTES = 10_000


@dataclass(frozen=True)
class TensorInfo:
    """An input or output.

    Attributes:
        name: Its name.
        dtype: ONNX element type in lower case, such as ``float32``.
        shape: One entry per axis: a number, or the name of a dynamic dimension.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class LayerInfo:
    """A node with weights.

    Attributes:
        name: Name of the node, or of its weight where the node has none.
        operator: Operator type, such as ``Conv``.
        weight: Name of its largest initializer.
        shape: Shape of that.
        bytes: Bytes of all its initializers.
        multiply_adds: Multiply-adds of one run, 0 where shapes are unknown.
        bytes_share: Share of the model's parameter bytes, 0 to 1.
        multiply_adds_share: Share of the model's multiply-adds, 0 to 1.
    """

    name: str
    operator: str
    weight: str
    shape: tuple[int, ...]
    bytes: int
    multiply_adds: int
    bytes_share: float
    multiply_adds_share: float


@dataclass(frozen=True)
class Download:
    """Seconds to download the model at one network speed, br-11.

    Attributes:
        mbps: Megabits per second.
        seconds_raw: The file as it is.
        seconds: The file in br-11.
        seconds_with_runtime: The same, with ONNX Runtime Web's own bytes.
    """

    mbps: float
    seconds_raw: float
    seconds: float
    seconds_with_runtime: float


@dataclass(frozen=True)
class Advice:
    """What to try next: a command, and the size to expect in br-11 bytes."""

    command: str
    why: str
    expected_bytes: int


@dataclass(frozen=True)
class Inspection:
    """All that ``sprat inspect`` says.

    Attributes:
        path: The file.
        file_bytes: Bytes of the file and its external data.
        parameters: Count of all weights.
        parameter_bytes: Bytes of all initializers.
        opset: Version of the default domain.
        ir_version: ONNX IR version.
        producer: Name and version of the exporter; empty where unknown.
        architecture: A guess in words, such as "CNN, 20 Conv, 11.2 M parameters".
        inputs: Inputs, without initializers.
        outputs: Outputs.
        operators: Count of nodes by operator type.
        dtypes: Bytes of initializers by element type.
        layers: Nodes with weights, largest first.
        multiply_adds: Of one run with dynamic dimensions at 1.
        waste: What cleaning would remove, in words.
        wire: Bytes raw and on the wire.
        downloads: At 50, 10 and 1 Mbps.
        advice: What to try next.
    """

    path: str
    file_bytes: int
    parameters: int
    parameter_bytes: int
    opset: int
    ir_version: int
    producer: str
    architecture: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    operators: dict[str, int]
    dtypes: dict[str, int]
    layers: tuple[LayerInfo, ...]
    multiply_adds: int
    waste: tuple[str, ...]
    wire: WireBytes
    downloads: tuple[Download, ...]
    advice: tuple[Advice, ...]


def tensor_infos(model: onnx.ModelProto) -> tuple[TensorInfo, ...]:
    """Return the inputs of a model, without its initializers."""
    weights = {t.name for t in model.graph.initializer}
    return tuple(_tensor_info(v) for v in model.graph.input if v.name not in weights)


def inspect(path: Path, *, exact: bool = False, progress: Progress = silent) -> Inspection:
    """Say what a model is, what it costs to download, and what to try next.

    Args:
        path: The model's file.
        exact: Compress all of it (about 1 MB a second) instead of estimating from samples.
        progress: Told how far the compression is.

    Returns:
        The inspection.

    Raises:
        ModelError: The file is missing, damaged or no ONNX model.
    """
    model = load(path)
    sizes = initializer_bytes(model)
    macs = multiply_adds(model)
    layers = _layers(model, sizes, macs)
    content = total_bytes(path)
    progress("compressing", 0, 1)
    wire = wire_bytes(content, exact=exact)
    progress("compressing", 1, 1)
    dims = {t.name: math.prod(t.dims) for t in model.graph.initializer}
    return Inspection(
        path=str(path),
        file_bytes=len(content),
        parameters=sum(dims.values()),
        parameter_bytes=sum(sizes.values()),
        opset=next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0),
        ir_version=model.ir_version,
        producer=printable(f"{model.producer_name} {model.producer_version}".strip()),
        architecture=_architecture(model, sum(dims.values())),
        inputs=tensor_infos(model),
        outputs=tuple(_tensor_info(v) for v in model.graph.output),
        operators=dict(Counter(n.op_type for n in model.graph.node).most_common()),
        dtypes=_dtypes(model, sizes),
        layers=layers,
        multiply_adds=sum(macs.values()),
        waste=find_waste(model, sizes),
        wire=wire,
        downloads=tuple(
            Download(
                mbps,
                download_seconds(wire.raw, mbps),
                download_seconds(wire.brotli, mbps),
                download_seconds(wire.brotli + RUNTIME_BROTLI_BYTES, mbps),
            )
            for mbps in NETWORKS_MBPS
        ),
        advice=_advice(path, model, sum(dims.values()), wire),
    )


def _tensor_info(value: onnx.ValueInfoProto) -> TensorInfo:
    kind = value.type.tensor_type
    shape = tuple(
        d.dim_value if d.HasField("dim_value") else printable(d.dim_param or "?")
        for d in kind.shape.dim
    )
    return TensorInfo(printable(value.name), dtype_name(kind.elem_type), shape)


def _layers(
    model: onnx.ModelProto, sizes: dict[str, int], macs: dict[int, int]
) -> tuple[LayerInfo, ...]:
    shapes = {t.name: tuple(t.dims) for t in model.graph.initializer}
    all_bytes, all_macs = max(1, sum(sizes.values())), max(1, sum(macs.values()))
    layers = []
    for i, node in enumerate(model.graph.node):
        weights = [name for name in dict.fromkeys(node.input) if name in sizes]
        if not weights or (i not in macs and max(sizes[w] for w in weights) < _SMALL):
            continue
        largest = max(weights, key=lambda name: sizes[name])
        size = sum(sizes[w] for w in weights)
        layers.append(
            LayerInfo(
                name=printable(node.name or largest),
                operator=printable(node.op_type),
                weight=printable(largest),
                shape=shapes[largest],
                bytes=size,
                multiply_adds=macs.get(i, 0),
                bytes_share=size / all_bytes,
                multiply_adds_share=macs.get(i, 0) / all_macs,
            )
        )
    return tuple(sorted(layers, key=lambda layer: (-layer.bytes, layer.name)))


def _dtypes(model: onnx.ModelProto, sizes: dict[str, int]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for tensor in model.graph.initializer:
        found[dtype_name(tensor.data_type)] += sizes[tensor.name]
    return dict(found.most_common())


def _architecture(model: onnx.ModelProto, parameters: int) -> str:
    kinds = Counter(n.op_type for n in model.graph.node)
    depthwise = sum(1 for n in model.graph.node if n.op_type == "Conv" and _groups(n) > 1)
    parts = []
    if kinds["Conv"]:
        parts.append(f"{kinds['Conv']} Conv" + (f" ({depthwise} grouped)" if depthwise else ""))
    parts += [f"{kinds[k]} {k}" for k in ("Gemm", "MatMul", "LSTM", "GRU") if kinds[k]]
    if kinds["Softmax"] > 1 and kinds["MatMul"] > kinds["Conv"]:
        family = "transformer"
    elif kinds["Conv"]:
        family = "compact CNN with depthwise convolutions" if depthwise > 2 else "CNN"
    elif kinds["LSTM"] or kinds["GRU"]:
        family = "recurrent network"
    else:
        family = "network"
    return ", ".join([family, *parts, f"{parameters / 1e6:.2f} M parameters"])


def _groups(node: onnx.NodeProto) -> int:
    return next((a.i for a in node.attribute if a.name == "group"), 1)


def _advice(
    path: Path, model: onnx.ModelProto, parameters: int, wire: WireBytes
) -> tuple[Advice, ...]:
    name = shlex.quote(path.name)
    grouped = any(n.op_type == "Conv" and _groups(n) > 1 for n in model.graph.node)
    floats = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    if not floats:
        return (
            Advice(
                f"sprat compare ORIGINAL {name} --data DATA",
                "it holds no float32 weights: it is quantized already",
                wire.brotli,
            ),
        )
    bits = _BITS_COMPACT if grouped else _BITS_PLAIN
    expected = min(wire.brotli, round(parameters * bits / 8) + _GRAPH_BYTES)
    int8 = min(wire.brotli, round(parameters * _INT8_SHARE) + _GRAPH_BYTES)
    return (
        Advice(
            f"sprat optimize {name} --data DATA --out small",
            f"the smallest that holds your accuracy; about {bits:g} bits a weight is usual for "
            f"{'compact networks' if grouped else 'plain ones'}",
            expected,
        ),
        Advice(
            f"sprat quantize {name} --method weights -o small.onnx",
            "int8 weights, no data needed",
            int8,
        ),
    )
