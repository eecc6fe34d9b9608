"""Search over students: the space, the study that all workers share, the rule, the front.

What a trial does is not said here; the workflow hands over a function that does it. Nothing of
optuna is imported before a study is opened.
"""
