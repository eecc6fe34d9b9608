"""From torch to ONNX: at the opset that was asked for, and with torch's own answers."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from sprat.distillation.contract import Contract
from sprat.errors import ExportError, OptionError
from sprat.graph.simplify import simplify
from sprat.model.check import check
from sprat.model.nodes import all_nodes
from sprat.model.session import Feeds, open_session, run

#: torch's first exporter writes opsets up to this one exactly; the newer one those above it.
_FIRST_UP_TO = 20
_LEAST = 13
#: The largest difference from torch that is let pass, over the larger of 1 and torch's own value.
TOLERANCE = 1e-4


def check_opset(opset: int) -> None:
    """Refuse an opset that cannot be written.

    Raises:
        OptionError: It is below 13 (no per-channel quantization) or not known to onnx here.
    """
    newest = onnx.defs.onnx_opset_version()
    if not _LEAST <= opset <= newest:
        raise OptionError(f"must be {_LEAST} to {newest}, got {opset}.", where="--opset")


def export(whole: nn.Module, contract: Contract, samples: Feeds, opset: int) -> onnx.ModelProto:
    """Write a student as ONNX, and hold it against torch.

    BatchNorm is folded into the convolution before it. The graph's input and output are the
    teacher's, with their names, types and axes.

    Args:
        whole: A :class:`~sprat.distillation.contract.Whole` in evaluation mode.
        contract: The teacher's.
        samples: Real samples on which both are run, a batch of the teacher's own size.
        opset: The opset that is wanted.

    Returns:
        The model; the same for the same weights.

    Raises:
        ExportError: torch wrote another opset, left a BatchNorm, or the outputs differ from torch's
            by more than 1e-4.
        OptionError: torch cannot export the network.
    """
    x = torch.from_numpy(np.ascontiguousarray(samples[contract.input]))
    with torch.no_grad():
        wanted = whole(x).numpy()
    model = _written(whole, x, contract, opset)
    _put_contract(model, contract)
    check(model, "the student")
    written = {entry.domain: entry.version for entry in model.opset_import}
    if written.get("") != opset:
        raise ExportError(
            f"torch {torch.__version__} wrote opset {written.get('')} where {opset} was asked for.",
            hint="Give another --opset: 17 loads everywhere.",
        )
    if any(node.op_type == "BatchNormalization" for node in all_nodes(model.graph)):
        model = simplify(model, [samples]).model
    got = run(open_session(model), samples)[contract.output]
    _compare(wanted, got)
    return model


def _written(whole: nn.Module, x: torch.Tensor, contract: Contract, opset: int) -> onnx.ModelProto:
    names = {"input_names": [contract.input], "output_names": [contract.output]}
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the exporter's own, about itself
            if opset <= _FIRST_UP_TO:
                torch.onnx.export(
                    whole,
                    (x,),
                    buffer,
                    dynamo=False,
                    opset_version=opset,
                    dynamic_axes=_dynamic(contract),
                    **names,
                )
            else:
                axes = dict.fromkeys(_dynamic(contract)[contract.input], torch.export.Dim.DYNAMIC)
                made = torch.onnx.export(
                    whole,
                    (x,),
                    dynamo=True,
                    opset_version=opset,
                    dynamic_shapes=(axes,),
                    verbose=False,
                    **names,
                )
                assert made is not None
                return _plain(made.model_proto)
    except Exception as error:  # a user's network may do anything
        reason = next(iter(str(error).splitlines()), "")
        raise OptionError(
            f"torch cannot export it at opset {opset} ({type(error).__name__}: {reason}).",
            where="--student",
        ) from error
    return _plain(onnx.load_from_string(buffer.getvalue()))


def _dynamic(contract: Contract) -> dict[str, dict[int, str]]:
    """Return the teacher's dynamic axes by tensor."""
    graph = contract.teacher.graph
    return {
        value.name: {
            i: d.dim_param or f"{value.name}_{i}"
            for i, d in enumerate(value.type.tensor_type.shape.dim)
            if d.dim_value <= 0
        }
        for value in (*graph.input, *graph.output)
        if value.name in (contract.input, contract.output)
    }


def _plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """Leave out what depends on the machine: where in the source a node comes from."""
    for node in all_nodes(model.graph):
        node.ClearField("doc_string")
        del node.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        del value.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    model.graph.name = "student"
    return model


def _put_contract(model: onnx.ModelProto, contract: Contract) -> None:
    """Declare input and output as the teacher does."""
    graph, theirs = model.graph, contract.teacher.graph
    for own, values in ((graph.input, theirs.input), (graph.output, theirs.output)):
        wanted = next(v for v in values if v.name in (contract.input, contract.output))
        del own[:]
        own.append(wanted)


def _compare(wanted: NDArray[Any], got: NDArray[Any]) -> None:
    if wanted.shape != got.shape:
        raise ExportError(
            f"the exported student gives {list(got.shape)}, torch gives {list(wanted.shape)}."
        )
    size = np.maximum(1.0, np.abs(wanted.astype(np.float64)))
    gap = float((np.abs(got.astype(np.float64) - wanted) / size).max(initial=0.0))
    if not gap <= TOLERANCE:
        raise ExportError(
            f"the exported student's outputs differ from torch's by {gap:.1e}, above "
            f"{TOLERANCE:.0e}.",
            hint="Give another --opset: 17 is the best tried.",
        )
