"""Plan and weights as one file, which a bundle delivers like any other model."""

from __future__ import annotations

from sprat.lean.compile import Compiled
from sprat.lean.plan import plan_text

#: The file begins with this; the number is the format's.
MAGIC = b"LEAN1\0\0\0"


def packed(made: Compiled) -> bytes:
    """Return plan and weights as one file.

    Args:
        made: What was compiled.

    Returns:
        :data:`MAGIC`, the plan's length in 4 bytes (little-endian) and 4 of zeros, the plan as JSON
        filled up with spaces to a multiple of 8 bytes, the weights.
    """
    text = plan_text(made.plan).encode()
    text += b" " * (-len(text) % 8)
    return MAGIC + len(text).to_bytes(8, "little") + text + made.weights
