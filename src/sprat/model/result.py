"""The gate that every model of ours passes before it is written.

A file that onnx's checker or ONNX Runtime refuses is a fault of Sprat, or of a library that it
uses. It is told as such and not written; the user's model is not blamed.
"""

from __future__ import annotations

import onnx
from onnx.checker import ValidationError
from onnx.shape_inference import InferenceError

from sprat.errors import CostlyModelError, FaultyResultError, OutputError, UnsupportedModelError
from sprat.model.external import MAX_BYTES
from sprat.model.session import first_line, open_session

_HINT = (
    "Your model is not to blame: this is a fault in Sprat, or in a library that it uses. Please "
    "report it with the model."
)


def result_bytes(
    model: onnx.ModelProto, base: onnx.ModelProto | None = None, *, made_by: str = ""
) -> bytes:
    """Serialize a model that Sprat made, if it may be written.

    Args:
        model: The model.
        base: What it was made from. Where onnx's checker refuses that, too, as it does for many
            exports that run well, the result is held to ONNX Runtime alone.
        made_by: The step that made it, for the error.

    Returns:
        The file's content.

    Raises:
        FaultyResultError: onnx's full check or ONNX Runtime refuses it.
        CostlyModelError: Opening it takes more than :mod:`sprat.limits` allow.
        OutputError: It is above 2 GB, the limit of protobuf.
    """
    if model.ByteSize() > MAX_BYTES:
        raise OutputError("the model is above 2 GB, the limit of protobuf.", where=made_by)
    content = model.SerializeToString(deterministic=True)
    reason = checker_refusal(content)
    if reason and (base is None or not checker_refusal(base.SerializeToString())):
        raise FaultyResultError(
            f"the model that it made is refused by onnx's checker: {reason}",
            where=made_by,
            hint=_HINT,
        )
    try:
        open_session(model)
    except CostlyModelError:
        raise  # a limit, and no fault
    except UnsupportedModelError as error:
        raise FaultyResultError(
            f"the model that it made does not open: {error.what}", where=made_by, hint=_HINT
        ) from error
    return content


def checked_result(
    model: onnx.ModelProto, base: onnx.ModelProto | None = None, *, made_by: str = ""
) -> onnx.ModelProto:
    """Return a model that Sprat made, if it may be written; see :func:`result_bytes`."""
    result_bytes(model, base, made_by=made_by)
    return model


def checker_refusal(content: bytes) -> str:
    """Return why onnx's full check refuses a model; empty where it does not."""
    try:
        onnx.checker.check_model(content, full_check=True)
    except (ValidationError, InferenceError, RuntimeError, ValueError, TypeError) as error:
        return first_line(error)
    return ""
