"""Inspect a model: size, layers, inputs, outputs, waste, and what it costs on the wire."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import onnx

from sprat.model.advice import advise, groups
from sprat.model.inspection import Advice, Download, Inspection, LayerInfo, TensorInfo
from sprat.model.layers import find_layers
from sprat.model.load import load, total_bytes
from sprat.model.nodes import (
    dtype_name,
    inner_weights,
    printable,
    tensor_bytes,
    weight_tensors,
)
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

__all__ = [
    "Advice",
    "Download",
    "Inspection",
    "LayerInfo",
    "TensorInfo",
    "fixed_batch",
    "inspect",
    "output_infos",
    "tensor_infos",
]


def tensor_infos(model: onnx.ModelProto) -> tuple[TensorInfo, ...]:
    """Return the inputs of a model, without its initializers."""
    weights = {t.name for t in model.graph.initializer}
    return tuple(_tensor_info(v) for v in model.graph.input if v.name not in weights)


def fixed_batch(model: onnx.ModelProto) -> int | None:
    """Return the batch size that the first input is fixed to; None where it is dynamic."""
    shape = next((t.shape for t in tensor_infos(model)), ())
    return shape[0] if shape and isinstance(shape[0], int) and shape[0] > 0 else None


def output_infos(model: onnx.ModelProto) -> tuple[TensorInfo, ...]:
    """Return the outputs of a model."""
    return tuple(_tensor_info(v) for v in model.graph.output)


def inspect(
    path: Path,
    *,
    exact: bool = False,
    wire: WireBytes | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    size: tuple[int, int] | None = None,
    progress: Progress = silent,
) -> Inspection:
    """Say what a model is, what it costs to download, and what to try next.

    Args:
        path: The model's file.
        exact: Compress all of it (about 1 MB a second) instead of estimating from samples.
        wire: Its bytes on the wire, where they are known already.
        shapes: Shapes of inputs by name, for counting multiply-adds.
        size: Height and width of images, for the same where the model leaves them free.
        progress: Told how far the compression is.

    Returns:
        The inspection.

    Raises:
        ModelError: The file is missing, damaged or no ONNX model.
    """
    model = load(path)
    weights = (*weight_tensors(model).values(), *inner_weights(model))
    work = multiply_adds(model, shapes, size)
    content = total_bytes(path)
    progress("compressing", 0, 1)
    wire = wire or wire_bytes(content, exact=exact)
    progress("compressing", 1, 1)
    parameters = sum(math.prod(t.dims) for t in weights)
    return Inspection(
        path=str(path),
        file_bytes=len(content),
        parameters=parameters,
        parameter_bytes=sum(tensor_bytes(t) for t in weights),
        opset=next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0),
        ir_version=model.ir_version,
        producer=printable(f"{model.producer_name} {model.producer_version}".strip()),
        architecture=_architecture(model, parameters),
        inputs=tensor_infos(model),
        outputs=output_infos(model),
        operators=dict(Counter(n.op_type for n in model.graph.node).most_common()),
        dtypes=_dtypes(weights),
        layers=find_layers(model, work.counts),
        multiply_adds=sum(work.counts.values()),
        uncounted=work.uncounted,
        free=work.free,
        waste=find_waste(model),
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
        advice=advise(path, model, wire),
    )


def _tensor_info(value: onnx.ValueInfoProto) -> TensorInfo:
    kind = value.type.tensor_type
    shape = tuple(
        d.dim_value
        if d.HasField("dim_value") and d.dim_value >= 0
        else printable(d.dim_param or "?")
        for d in kind.shape.dim
    )
    return TensorInfo(printable(value.name), dtype_name(kind.elem_type), shape)


def _dtypes(weights: Iterable[onnx.TensorProto]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for tensor in weights:
        found[dtype_name(tensor.data_type)] += tensor_bytes(tensor)
    return dict(found.most_common())


def _architecture(model: onnx.ModelProto, parameters: int) -> str:
    kinds = Counter(n.op_type for n in model.graph.node)
    depthwise = sum(1 for n in model.graph.node if n.op_type == "Conv" and groups(n) > 1)
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
