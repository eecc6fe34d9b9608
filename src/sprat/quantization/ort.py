"""ONNX Runtime's own quantizers and its float16 converter, made deterministic and bounded."""

from __future__ import annotations

import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper

from sprat.errors import OptionError, UnsupportedModelError
from sprat.model.nodes import name_nodes, shown
from sprat.model.order import sort_nodes
from sprat.model.session import Feeds, first_line, open_session
from sprat.progress import Progress, silent
from sprat.quantization.configs import Calibration, Dynamic, Float16, Static
from sprat.quantization.histograms import coarsened

#: ONNX Runtime's level of fatal errors: its warnings are coloured, and mean nothing to a user.
_SILENT = 4
#: Float operators whose integer form is worth it; the rest follow by themselves in QDQ.
_DYNAMIC_OPERATORS = ["Conv", "MatMul", "Gemm", "Gather", "EmbedLayerNormalization", "LSTM"]


def quantize_dynamic(model: onnx.ModelProto, config: Dynamic) -> onnx.ModelProto:
    """Run ``onnxruntime.quantization.quantize_dynamic`` with unsigned 8-bit weights.

    Args:
        model: Opset 11 or later.
        config: Nodes that stay float.

    Returns:
        The quantized model.

    Raises:
        UnsupportedModelError: The quantizer cannot handle the model.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _workshop("dynamic", model) as folder:
        quantize_dynamic(
            name_nodes(model),
            folder / "out.onnx",
            op_types_to_quantize=_DYNAMIC_OPERATORS,
            weight_type=QuantType.QUInt8,
            nodes_to_exclude=list(config.exclude),
        )
        return onnx.load(folder / "out.onnx")


def quantize_static(
    model: onnx.ModelProto,
    config: Static,
    ranges: bytes,
    steps: Mapping[str, tuple[NDArray[np.float32], int]] | None = None,
) -> onnx.ModelProto:
    """Run ``onnxruntime.quantization.quantize_static`` in QDQ form, U8 activations, S8 weights.

    Args:
        model: Opset 13 or later: per-channel scales need an ``axis`` attribute that older
            opsets lack.
        config: Nodes that stay float.
        ranges: Activation ranges, from :func:`calibrate` with the same method.
        steps: Scale or scales of each weight whose values are multiples of them already, and the
            axis along which they run.

    Returns:
        The quantized model.

    Raises:
        OptionError: The opset is below 13.
        UnsupportedModelError: The quantizer cannot handle the model.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    _require_opset(model, 13)
    _bound_sharing()
    fixed = {name: _scales(values, axis) for name, (values, axis) in (steps or {}).items()}
    with _workshop("static", model) as folder:
        cache = folder / "ranges.json"
        cache.write_bytes(ranges)
        quantize_static(
            name_nodes(model),
            folder / "out.onnx",
            None,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            # 7 bits: pairs of products of 8 overflow the 16 bits that x86 without VNNI adds them in
            # (onnxruntime#6545), so that the same file would answer otherwise there.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=list(config.exclude),
            calibrate_method=_method(config.calibration),
            calibration_cache_path=cache,
            extra_options={"TensorQuantOverrides": fixed} if fixed else None,
        )
        return onnx.load(folder / "out.onnx")


def calibrate(
    model: onnx.ModelProto,
    samples: Sequence[Feeds],
    method: Calibration,
    progress: Progress = silent,
) -> bytes:
    """Find the range of every activation from real samples.

    The samples pass one at a time, so that memory holds one sample's activations only.

    Args:
        model: Opset 13 or later.
        samples: One batch each; a few dozen real samples. Noise is no calibration data.
        method: ``minmax``, ``entropy`` or ``percentile`` (99.999 %).
        progress: Told how many samples are done.

    Returns:
        The ranges in ONNX Runtime's JSON form.

    Raises:
        OptionError: There are no samples.
        UnsupportedModelError: The calibrator cannot handle the model.
    """
    from onnxruntime.quantization.calibrate import create_calibrator, save_tensors_data

    if not samples:
        raise OptionError("static quantization needs calibration samples.", where="--data")
    with _workshop("calibration", model, samples) as folder:
        source = folder / "in.onnx"
        onnx.save(name_nodes(model), source)
        calibrator = create_calibrator(
            source,
            _quantizable_operators(),
            augmented_model_path=str(folder / "augmented.onnx"),
            calibrate_method=_method(method),
        )
        # One thread: the ranges must not depend on the machine's cores.
        calibrator.infer_session = open_session(folder / "augmented.onnx")
        for i, feeds in enumerate(samples):
            calibrator.collect_data(_reader([feeds]))
            if method == "entropy":
                kept = calibrator.collector.histogram_dict
                kept.update({name: coarsened(one) for name, one in kept.items()})
            progress(f"calibrating ({method})", i + 1, len(samples))
        save_tensors_data(calibrator.compute_data(), folder / "ranges.json")
        return (folder / "ranges.json").read_bytes()


def convert_float16(model: onnx.ModelProto, config: Float16) -> onnx.ModelProto:
    """Convert to half precision with float32 inputs and outputs.

    Args:
        model: Any model.
        config: Nodes that stay float32.

    Returns:
        The converted model.

    Raises:
        UnsupportedModelError: The converter cannot handle the model.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with _workshop("float16", model):
        copy = name_nodes(model)
        _give_stored_outputs_a_node(copy)
        converted: onnx.ModelProto = convert_float_to_float16(
            copy, keep_io_types=True, node_block_list=list(config.exclude)
        )
    sort_nodes(converted)  # its casts come last
    return converted


def _give_stored_outputs_a_node(model: onnx.ModelProto) -> None:
    """Let an Identity make each output that is a weight, in place.

    Constant folding leaves such outputs. The converter puts a Cast before every output, and its
    input has no maker where the output had none.
    """
    outputs = {value.name for value in model.graph.output}
    taken = outputs | {name for node in model.graph.node for name in (*node.input, *node.output)}
    taken |= {tensor.name for tensor in model.graph.initializer}
    for tensor in model.graph.initializer:
        if tensor.name not in outputs:
            continue
        made, name = tensor.name, f"{tensor.name}_stored"
        while name in taken:
            name += "_"
        taken.add(name)
        tensor.name = name
        model.graph.node.insert(0, onnx.helper.make_node("Identity", [name], [made], name=name))


def _method(name: Calibration) -> Any:
    from onnxruntime.quantization import CalibrationMethod

    return {
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }[name]


def _scales(values: NDArray[np.float32], axis: int) -> list[dict[str, Any]]:
    """Say in ONNX Runtime's words which scale or scales a weight has."""
    from onnxruntime.quantization import QuantType

    found: list[dict[str, Any]] = [
        {"quant_type": QuantType.QInt8, "scale": np.array(value), "zero_point": np.int8(0)}
        for value in np.atleast_1d(values)
    ]
    if values.ndim:
        found[0]["axis"] = axis
    return found


def _quantizable_operators() -> list[str]:
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return sorted({*QLinearOpsRegistry, *QDQRegistry})


def _reader(samples: Sequence[Feeds]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(samples)

        def get_next(self) -> Feeds | None:
            return next(self._left, None)

    return Reader()


def _require_opset(model: onnx.ModelProto, least: int) -> None:
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if opset < least:
        raise OptionError(
            f"the model has opset {opset}; this method needs {least} or later.",
            hint="Run 'sprat simplify' first: it raises the opset.",
        )


def _bound_sharing() -> None:
    """Let ONNX Runtime's QDQ quantizer leave in float what would keep it waiting for ever.

    Behind a Pad, say, a tensor takes the scale of the tensor before it. Where that one is never
    quantized, as in a model that holds QuantizeLinear already, its loop has no end.
    """
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    shared = QDQQuantizer._quantize_sharing_param_tensors
    if getattr(shared, "bounded", False):
        return

    def bounded(self: Any) -> None:
        known, waiting = set(self.quantized_value_map), dict(self.tensors_to_quantize)
        while found := {name for name, info in waiting.items() if _provider(info) in known}:
            known |= found
            waiting = {name: info for name, info in waiting.items() if name not in found}
        for name in waiting:
            del self.tensors_to_quantize[name]
        shared(self)

    bounded.bounded = True  # type: ignore[attr-defined]
    QDQQuantizer._quantize_sharing_param_tensors = bounded


def _provider(info: Any) -> str:
    return info.quant_para_provider.input_name if info.quant_para_provider else ""


def _advice(model: onnx.ModelProto | None, samples: Sequence[Feeds]) -> str:
    """Look for what makes a step fail, and say what to do about it."""
    if model is None:
        return "Take another --method."
    for tensor in model.graph.initializer:
        if _has_no_numbers(numpy_helper.to_array(tensor)):
            return f"The weight {shown(tensor.name)} holds NaN or inf: export the model again."
    for feeds in samples:
        for name, values in feeds.items():
            if _has_no_numbers(values):
                return f"The samples hold NaN or inf in {shown(name)}: leave those samples out."
    return "Take another --calibration or another --method."


def _has_no_numbers(values: NDArray[Any]) -> bool:
    return values.dtype.kind == "f" and not np.isfinite(values).all()


@contextmanager
def _workshop(
    step: str, model: onnx.ModelProto | None = None, samples: Sequence[Feeds] = ()
) -> Iterator[Path]:
    """Give a temporary folder, quiet the library, and turn its errors into ours."""
    onnxruntime.set_default_logger_severity(_SILENT)  # its sessions have options of their own
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="sprat-") as folder,
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield Path(folder)
    except (OptionError, UnsupportedModelError):
        raise
    except Exception as error:  # the quantizers raise many unrelated classes
        raise UnsupportedModelError(
            f"ONNX Runtime's {step} step cannot handle this model: {first_line(error)}",
            hint=_advice(model, samples),
        ) from error
    finally:
        root.setLevel(level)
