"""A campaign of damaged and hostile models against the commands that read a stranger's file.

``python -m fuzz --count 2000 --seed 0`` runs it; the gate runs a part (``tests/test_fuzz.py``).
"""
