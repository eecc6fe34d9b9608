"""One verb for every strategy: ``quantize(model, config, samples)``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from sprat.errors import NoGainError
from sprat.model.result import checked_result
from sprat.model.session import Feeds
from sprat.progress import Progress, silent
from sprat.quantization import ort
from sprat.quantization.configs import Config, Dynamic, Float16, RateDistortion, Static
from sprat.quantization.range import refuse_beyond_range
from sprat.quantization.weights import MIN_ELEMENTS, quantize_weights


def quantize(
    model: onnx.ModelProto,
    config: Config,
    samples: Sequence[Feeds] = (),
    *,
    ranges: bytes | None = None,
    progress: Progress = silent,
) -> onnx.ModelProto:
    """Quantize a model by one strategy.

    Args:
        model: The model; clean it first (:func:`sprat.simplify`).
        config: The strategy and its options.
        samples: Calibration batches; ``Static`` and ``RateDistortion`` need them.
        ranges: Activation ranges from an earlier calibration; saves calibrating again.
        progress: Told how far calibration is.

    Returns:
        A new model that ONNX Runtime loads, with the same inputs and outputs.

    Raises:
        FaultyResultError: What the method made is no valid model.
        NoGainError: The method changed nothing, or the file is not smaller.
        OptionError: The method's needs are not met.
        UnsupportedModelError: The method cannot handle the model.
    """
    result = _apply(model, config, samples, ranges, progress)
    method = type(config).__name__.lower()
    if _operators(result) == _operators(model) and _dtypes(result) == _dtypes(model):
        raise NoGainError(
            f"{method} quantization changed nothing: {_why_nothing(model)}.",
            hint="See the layers with 'sprat inspect'.",
        )
    before, after = model.ByteSize(), result.ByteSize()
    if after >= before:
        raise NoGainError(f"{method} quantization made the file larger: {before} to {after} bytes.")
    checked_result(result, model, made_by=f"{method} quantization")
    if isinstance(config, Float16):
        refuse_beyond_range(model, result, samples)
    return result


def _apply(
    model: onnx.ModelProto,
    config: Config,
    samples: Sequence[Feeds],
    ranges: bytes | None,
    progress: Progress,
) -> onnx.ModelProto:
    if isinstance(config, Dynamic):
        return ort.quantize_dynamic(model, config)
    if isinstance(config, Static):
        found = ranges or ort.calibrate(model, samples, config.calibration, progress)
        return ort.quantize_static(model, config, found)
    if isinstance(config, RateDistortion):
        from sprat.quantization.rate_distortion import at_bits, pack, prepare

        ready = prepare(model, samples, progress=progress)
        return pack(model, at_bits(ready, config.bits_per_weight, progress), "int8")
    if isinstance(config, Float16):
        return ort.convert_float16(model, config)
    return quantize_weights(model, config)


def _why_nothing(model: onnx.ModelProto) -> str:
    """Say what keeps a method from doing anything."""
    sizes = [
        int(np.prod(tensor.dims, dtype=np.int64))
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT
    ]
    if not sizes:
        return "it has no float32 weights"
    if max(sizes) < MIN_ELEMENTS:
        return (
            f"its largest weight has {max(sizes):,} numbers; below {MIN_ELEMENTS:,} the scales "
            "cost as much as they save"
        )
    return "no weight is of a kind it handles"


def _operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def _dtypes(model: onnx.ModelProto) -> list[int]:
    return sorted(tensor.data_type for tensor in model.graph.initializer)
