"""The lean runtime's compiler: an ONNX model becomes a plan and one file of weights."""
