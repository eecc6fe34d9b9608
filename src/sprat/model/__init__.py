"""What an ONNX file is: loaded and saved safely, looked into, run natively, counted on the wire.

Everything above stands on it. It knows nothing of samples' sources or of any method, and imports
only what helps everywhere: ``spread``, ``progress``, ``files``, ``parallel`` and ``errors``.
"""
