"""``python -m sprat``."""

from sprat.cli import main

main()
