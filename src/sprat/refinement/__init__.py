"""A rate-distortion point learns on: its integers, steps and biases, by gradients, without labels.

Only ``graph``, the ``operators`` and ``learn`` import torch, and nothing here is imported before
refinement is asked for: every other way of quantizing works without torch.
"""
