"""Rate-distortion weights inside an integer graph: the bytes of the one, the speed of the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from sprat.model.session import Feeds
from sprat.progress import Progress, silent
from sprat.quantization import ort
from sprat.quantization.configs import Static
from sprat.quantization.rate_distortion.engine import Point, expanded
from sprat.quantization.rate_distortion.look import replaced

#: Of the integers of 7 bits.
_MOST = 64


def integer_graph(
    model: onnx.ModelProto,
    point: Point,
    samples: Sequence[Feeds],
    config: Static,
    progress: Progress = silent,
) -> onnx.ModelProto:
    """Quantize activations to U8 around a point's weights, which keep their integers and steps.

    A layer whose integers need 8 bits is rounded again to 7, as all static weights are: pairs of
    products of 8 overflow where a machine or a browser adds them in 16 bits, so that the same file
    would answer otherwise there.

    Args:
        model: The float model that the point was made from.
        point: The integers and steps.
        samples: Calibration batches of real samples.
        config: How activation ranges are found, and what stays float.
        progress: Told how far calibration is.

    Returns:
        A QDQ model, U8 activations and S8 weights: those that keep their integers with the point's
        scale or scales, the others with one for each channel.
    """
    coarse = replaced(model, expanded(point))
    ranges = ort.calibrate(coarse, samples, config.calibration, progress)
    steps = {
        name: (values, point.axes[name])
        for name, values in point.steps.items()
        if np.abs(point.integers[name].astype(np.int16)).max() <= _MOST
    }
    return ort.quantize_static(coarse, config, ranges, steps)
