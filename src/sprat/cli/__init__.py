"""The command line. Nothing below it prints."""

import sys


def main() -> None:
    """Run the command line; what takes time to import comes late, so that Ctrl-C is clean then."""
    try:
        from sprat.cli.contain import contain

        contain()
        from sprat.cli.app import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()
