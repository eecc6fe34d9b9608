"""What ``prove`` measures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sprat.browser.find import Kind
from sprat.browser.runtime import Provider
from sprat.errors import OptionError

SAMPLES = 256
NETWORKS = (50.0, 10.0, 1.0)


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        samples: At most so many samples.
        networks: Mbps of the visits; none are made where it is empty.
        threads: Numbers of threads that are timed.
        longest: Seconds; visits that theory puts beyond are not made but foretold.
        browser: Which browser; only Chromium's network can be throttled, so that others make no
            visits.
        runtime: ``dist`` of an ``onnxruntime-web`` package; None takes the one in this package.
        provider: What computes; ``webgpu`` is looked at for right answers only, not timed.
        site: A bundle of the model with its page: it is visited too, twice with one cache.
    """

    samples: int = SAMPLES
    networks: tuple[float, ...] = NETWORKS
    threads: tuple[int, ...] = (1, 2)
    longest: float = 90.0
    browser: Kind = "chromium"
    runtime: Path | None = None
    provider: Provider = "wasm"
    site: Path | None = None

    @property
    def visits(self) -> bool:
        """Whether visits are timed."""
        return bool(self.networks) and self.provider == "wasm"

    def usual(self) -> bool:
        """Whether this is the proof that a record keeps."""
        return (self.browser, self.runtime, self.provider) == ("chromium", None, "wasm")

    def check(self) -> None:
        """Refuse values that make no sense.

        Raises:
            OptionError: A value is out of its range.
        """
        if self.samples < 1:
            raise OptionError(f"must be at least 1, got {self.samples}.", where="--samples")
        for mbps in self.networks:
            if not 0.05 <= mbps <= 10_000:
                raise OptionError(
                    f"must be Mbps from 0.05 to 10000, got {mbps:g}.", where="--networks"
                )
        if self.provider == "webgpu" and self.browser != "chromium":
            raise OptionError("needs --browser chromium.", where="--webgpu")
        if self.site is not None and not (self.networks and self.usual()):
            raise OptionError(
                "needs --networks, Chromium and the package's own runtime.", where="--site"
            )
