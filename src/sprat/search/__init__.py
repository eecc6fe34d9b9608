"""What is tried, and what is chosen: candidates, the accuracy budget, repair, the work folder.

How a model is quantized, and what an answer is worth, is said in the rooms below; only what
decides between models enters here.
"""
