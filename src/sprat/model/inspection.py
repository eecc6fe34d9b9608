"""What an inspection says: plain dataclasses, each able to become JSON."""

from __future__ import annotations

from dataclasses import dataclass

from sprat.model.wire import WireBytes


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
        multiply_adds: Of one sample, or of a run where the first axis is fixed; of those layers
            alone whose shapes are known.
        uncounted: Layers that compute, and whose shapes depend on a free dimension.
        free: Dimensions of inputs that no one stated; the first axis counts one sample.
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
    uncounted: int = 0
    free: tuple[str, ...] = ()
