"""The folder that any static host can serve."""
