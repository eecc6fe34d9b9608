"""A small student learns what an ONNX teacher knows; the only room that imports torch.

Nothing here is imported before ``distill`` is asked for: every other command works without torch.
"""
