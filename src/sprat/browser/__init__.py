"""A model where it will live: ONNX Runtime Web in a real browser over a real network."""
