"""The public functions that know the whole way, one command to a file; :mod:`sprat` shows them.

They join the rooms below and print nothing: what is said on a terminal is said in ``cli``.
Methods and measures do not enter here, each has its own room.
"""
