"""The strategies: each is a small frozen config that one function carries out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Calibration = Literal["minmax", "entropy", "percentile"]


@dataclass(frozen=True)
class Dynamic:
    """Weights as unsigned 8-bit integers, activations quantized at each run (QUInt8).

    Signed weights are not offered: ConvInteger with signed weights runs several times slower
    than float in ONNX Runtime.

    Attributes:
        exclude: Names of nodes that stay float.
    """

    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class Static:
    """Weights and activations as integers in QDQ form: U8 activations, S8 weights of 7 bits.

    Attributes:
        calibration: How activation ranges are found from real samples.
        exclude: Names of nodes that stay float.
    """

    calibration: Calibration = "minmax"
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class Weights:
    """Weights alone as signed 8-bit integers, one scale per output channel.

    Attributes:
        exclude: Names of initializers that stay float.
    """

    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class Float16:
    """All of the model in half precision; inputs and outputs stay float32.

    Attributes:
        exclude: Names of nodes that stay float32.
    """

    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class RateDistortion:
    """Weights as few distinct integers, rounded so that the output stays (data needed).

    Attributes:
        bits_per_weight: Order-0 entropy of the integers, over all quantized weights.
    """

    bits_per_weight: float = 2.0


#: Strategies that can leave single layers in float.
Layerwise = Dynamic | Static | Weights | Float16
Config = Layerwise | RateDistortion

METHODS: dict[str, type[Config]] = {
    "dynamic": Dynamic,
    "static": Static,
    "weights": Weights,
    "float16": Float16,
    "rate-distortion": RateDistortion,
}


def describe(config: Any) -> dict[str, Any]:
    """Return a config's options as JSON values, without those that are empty."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(config).items()
        if value not in ((), None)
    }
