"""What a model's answers are worth: how outputs are read, accuracy and its interval, speed.

Everything is measured against the original model on the same samples. It knows no method of
making models small: of the rooms, only ``data`` and ``model`` may enter.
"""
