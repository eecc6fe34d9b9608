"""Who takes part, as it is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sprat.errors import OptionError

_LOCAL = re.compile(r"local:(\d{1,4})")
_DASK = re.compile(r"dask://([^\s/@]+:\d{1,5})/?")


@dataclass(frozen=True)
class Workers:
    """Who takes part in a search.

    Attributes:
        local: Processes on this machine, this one counted; they share its cores.
        scheduler: ``host:port`` of a Dask scheduler, whose nodes take part beside this process;
            empty where there is none.
    """

    local: int = 1
    scheduler: str = ""

    @classmethod
    def parse(cls, text: str) -> Workers:
        """Read ``local:N`` or ``dask://host:port``.

        Raises:
            OptionError: It is something else.
        """
        local, dask = _LOCAL.fullmatch(text), _DASK.fullmatch(text)
        if local is not None and int(local[1]) > 0:
            return cls(local=int(local[1]))
        if dask is not None:
            return cls(scheduler=dask[1])
        raise OptionError(
            f"must be local:N or dask://host:port, got {text!r}.",
            where="--workers",
            hint="local:2 is two processes on this machine, N at least 1.",
        )
