"""A small student learns what an ONNX teacher knows; this room and ``refinement`` import torch.

Nothing here is imported before ``distill`` is asked for: every other command works without torch.
"""
