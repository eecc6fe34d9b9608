"""NNCodec (ISO/IEC 15938-17) on one model, in an environment of its own: it pins numpy below 2.

Usage:
    python -m venv nnc && nnc/bin/pip install nncodec==2.1.3 onnx "numpy<2"
    nnc/bin/python benchmarks/nncodec_peer.py MODEL OUT QP

Writes the model with the weights that its decoder gives back, as float32, and prints the bytes of
the bitstream. The graph itself is not in the bitstream and not counted.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
from nncodec import nnc
from onnx import numpy_helper


def main() -> None:
    """Encode, decode, write."""
    model, out, qp = onnx.load(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    floats = {
        t.name: np.array(numpy_helper.to_array(t), dtype=np.float32)
        for t in model.graph.initializer
        if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) > 0
    }
    stream = nnc.compress(floats, qp=qp, return_bitstream=True, verbose=False)
    decoded = nnc.decompress(stream)
    for tensor in model.graph.initializer:
        if tensor.name in floats:
            values = np.asarray(decoded[tensor.name], np.float32).reshape(tuple(tensor.dims))
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, out)
    print(json.dumps({"bytes": len(stream)}))


if __name__ == "__main__":
    main()
