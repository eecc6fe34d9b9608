"""Quantization: ONNX Runtime's methods and rate-distortion, one call for all of them."""
