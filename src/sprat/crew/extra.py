"""Say what to install where Dask is missing."""

from __future__ import annotations

from importlib.util import find_spec

from sprat.errors import PackageMissingError


def require() -> None:
    """Check that Dask's ``distributed`` is there, without importing it.

    Raises:
        PackageMissingError: It is missing; the message says how to get it.
    """
    if find_spec("distributed") is None:
        raise PackageMissingError(
            "--workers needs distributed, which is not installed.",
            hint="In the clone: pip install '.[scale]'. Without --workers all works the same.",
        )
