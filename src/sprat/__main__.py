"""``python -m sprat``."""

from sprat.cli import main

if __name__ == "__main__":  # the worker processes of tune import this file as well
    main()
