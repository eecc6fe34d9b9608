"""What is kept of a run: ``run.json`` and the implementation log."""
