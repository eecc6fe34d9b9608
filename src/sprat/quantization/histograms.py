"""Keep the histograms of ONNX Runtime's entropy calibrator small."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: The search for a threshold takes time with the square of the bins.
MOST_BINS = 1024

#: Counts, edges, least and largest value, and the threshold T: the edges go from -T to T.
Histogram = tuple[NDArray[Any], NDArray[Any], Any, Any, Any]


def coarsened(histogram: Histogram) -> Histogram:
    """Merge neighbouring bins until there are few enough.

    The calibrator keeps the width of its first sample's bins and adds bins for larger values, so
    that a tensor whose first sample is nearly zero ends with millions, and the search for its
    threshold does not end.

    Args:
        histogram: As ``onnxruntime.quantization.calibrate.HistogramCollector`` keeps it.

    Returns:
        The same, with at most ``MOST_BINS`` bins. No count is lost; the threshold grows by less
        than one merged bin.
    """
    counts, edges, low, high, threshold = histogram
    if len(counts) <= MOST_BINS:
        return histogram
    # One merged bin on each side may be needed to keep zero between two bins.
    together = -(-len(counts) // (MOST_BINS - 2))
    missing = -len(counts) % (2 * together) // 2
    merged = np.pad(counts, missing).reshape(-1, together).sum(axis=1)
    wider = threshold * (len(counts) + 2 * missing) / len(counts)
    return (
        merged,
        np.linspace(-wider, wider, len(merged) + 1).astype(edges.dtype),
        low,
        high,
        np.asarray(wider, np.asarray(threshold).dtype),
    )
