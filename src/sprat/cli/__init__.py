"""The command line. Nothing below it prints."""

from sprat.cli.app import main

__all__ = ["main"]
