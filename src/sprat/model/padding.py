"""What ``auto_pad`` adds around an input (ONNX, operators Conv and Pool)."""

from __future__ import annotations

from collections.abc import Sequence

#: Values of ``auto_pad`` with which an output has the input's size over the stride, rounded up.
SAME = ("SAME_UPPER", "SAME_LOWER")


def same_pads(
    way: str, sizes: Sequence[int], reach: Sequence[int], strides: Sequence[int]
) -> list[tuple[int, int]]:
    """Return what is added before and behind each spatial axis.

    Args:
        way: One of :data:`SAME`; an odd sample more goes behind (``SAME_UPPER``) or before.
        sizes: Of the input along the spatial axes.
        reach: Samples from the kernel's first to its last one, its dilation counted.
        strides: Of the kernel.
    """
    pads = []
    for size, extent, stride in zip(sizes, reach, strides, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + extent - size)
        small, large = total // 2, total - total // 2
        pads.append((small, large) if way == "SAME_UPPER" else (large, small))
    return pads
