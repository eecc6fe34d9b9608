"""What ONNX Runtime Web's errors mean, and what to do about them."""

from __future__ import annotations

import re

#: Pattern in the runtime's words, what it means, what to do. The first that fits counts.
_CAUSES: tuple[tuple[str, str, str], ...] = (
    (
        r"com\.microsoft\.nchwc|nchwc",
        "optimised for one processor",
        "The file was saved with layout optimisation (level ALL or LAYOUT), whose operators exist "
        "on the machine that made it only. Start from the original export, or save at level BASIC.",
    ),
    (
        r"is not a registered function/op|No Op registered|Could not find an implementation"
        r"|NOT_IMPLEMENTED",
        "operator missing in the browser's runtime",
        "The operators' table names the node and its types. Export at opset 13 to 21 without "
        "custom operators, or use another quantization.",
    ),
    (
        r"opset|ONNX Runtime only \*guarantees\* support|Unsupported model IR version",
        "opset or IR version too new",
        "Export at a lower opset, or convert with 'sprat simplify'.",
    ),
    (
        r"out of memory|bad_alloc|Array buffer allocation failed|Cannot enlarge memory"
        r"|memory access out of bounds|Aborted\(\)|Failed to allocate|invalid array length"
        r"|Invalid typed array length|could not be cloned|no browser holds that|SafeInt",
        "not enough memory",
        "A page gets at most 4 GB, on phones far less. Make the model or its input smaller.",
    ),
    (
        r"protobuf parsing failed|INVALID_PROTOBUF|Failed to load model because protobuf",
        "not a whole ONNX file",
        "The download was cut short, or the server answered with a page of HTML. Open the "
        "model's address in the browser, and compare its length with the file's.",
    ),
    (
        r"INVALID_GRAPH|Type Error|type inference|is invalid|INVALID_ARGUMENT|ShapeInferenceError",
        "not a valid model",
        "Check it with 'sprat inspect'; a tool before Sprat may have written a wrong graph.",
    ),
    (
        r"webgpu|GPU adapter",
        "no WebGPU",
        "This browser has no adapter that WebGPU could use. Leave --webgpu away, or prove it on a "
        "machine with a graphics card.",
    ),
    (
        r"HTTP \d+",
        "file not found on the server",
        "Check the address of the model.",
    ),
    (
        r"took more than|Timeout",
        "no answer in time",
        "The model may be too large for the page. Try it with fewer nodes or a smaller input.",
    ),
)


def cause(error: str) -> tuple[str, str]:
    """Say what an error of the runtime means.

    Args:
        error: The runtime's own words.

    Returns:
        A short phrase, and what to do; ``unknown`` with a hint where the table has nothing.
    """
    for pattern, meaning, hint in _CAUSES:
        if re.search(pattern, error, re.IGNORECASE):
            return meaning, hint
    return "unknown", "Search for the message in ONNX Runtime's issues."
