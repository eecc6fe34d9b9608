"""What the proving page is told to do, and what it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sprat.browser.causes import cause
from sprat.browser.host import Host
from sprat.browser.launch import Browser, within
from sprat.browser.runtime import Runtime
from sprat.browser.single import Single, identity
from sprat.browser.types import Loading, OperatorCheck, Timing
from sprat.errors import BrowserError
from sprat.evaluate.types import Interval
from sprat.model.session import Feeds, Outputs
from sprat.progress import Progress

if TYPE_CHECKING:
    from playwright.async_api import Page

#: One call of the worker may take so long, in seconds.
CALL_SECONDS = 120.0
#: A page whose worker is busy still answers within this; if it does not, the browser hangs.
_PULSE_SECONDS = 15.0
#: Samples between two signs of progress.
_CHUNK = 8
_ROUNDS = 9
_ROUND_MILLISECONDS = 150.0
_SCRIPT = """async ([call, args]) => {
  try { return { value: await prove[call](...args) }; }
  catch (error) { return { error: String(error?.message ?? error) }; }
}"""


@dataclass
class Driver:
    """A page that is open on the host.

    Attributes:
        browser: The browser.
        page: The proving page.
        host: What it can fetch, and where its answers go.
        runtime: What computes in the page.
        progress: Told how far the work is.
    """

    browser: Browser
    page: Page
    host: Host
    runtime: Runtime
    progress: Progress

    async def start(self) -> bool:
        """Open the page; say whether it is cross-origin isolated."""
        await within(self.page.goto(f"{self.host.address}/prove.html"))
        return bool(await within(self.page.evaluate("prove.isolated")))

    async def adapter(self) -> str:
        """Return what WebGPU computes on; empty where the page has none."""
        return str(await within(self.page.evaluate("prove.adapter()")))

    async def open(self, name: str, threads: int = 1) -> Loading:
        """Load the model that the host serves as ``/models/NAME.onnx``."""
        wanted = {
            "runtime": self.runtime.addresses(),
            "model": f"./models/{name}.onnx",
            "threads": threads,
            "limit": 1000 * CALL_SECONDS,
        }
        found = await self._tried("open", name, wanted)
        if "error" in found:
            return refusal(found["error"])
        value = found["value"]
        return Loading(True, milliseconds=value["milliseconds"], heap=int(value["heap"]))

    async def close(self, name: str) -> None:
        """End a model's worker, so that its memory is free."""
        await self._call("close", name)

    async def answers(self, name: str, count: int, stage: str) -> list[Outputs]:
        """Run samples ``0`` to ``count`` and return the outputs of each."""
        for start in range(0, count, _CHUNK):
            await self._call("answer", name, start, min(count, start + _CHUNK))
            self.progress(stage, min(count, start + _CHUNK), count)
        return self.received(f"/answers/{name}", count)

    async def looks(
        self, name: str, preprocess: dict[str, Any], count: int, stage: str
    ) -> tuple[list[Outputs], list[Outputs]]:
        """Let the page preprocess images ``0`` to ``count`` and answer them.

        Returns:
            The inputs that it made, and the model's outputs on them, by image.
        """
        for start in range(0, count, _CHUNK):
            await self._call("look", name, preprocess, start, min(count, start + _CHUNK))
            self.progress(stage, min(count, start + _CHUNK), count)
        return self.received("/prepared", count), self.received(f"/seen/{name}", count)

    def received(self, folder: str, count: int) -> list[Outputs]:
        """Take the tensors that the page sent."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            return [load(self.host.received.pop(f"{folder}/{i}")) for i in range(count)]
        except (KeyError, SafetensorError) as error:
            raise BrowserError(f"the page sent no answer that can be read: {error}") from error

    async def timings(self, names: Sequence[str], threads: int, first: float) -> Timing:
        """Time models by turns; the first is the one meant, the second the original."""
        stage = "timing in the browser" + (f", {threads} threads" if threads > 1 else "")
        rounds: dict[str, list[list[float]]] = {name: [] for name in names}
        for i in range(_ROUNDS):
            order = list(names) if i % 2 == 0 else list(names)[::-1]
            found = await self._call(
                "time", order, "./samples/0.safetensors", 1, _ROUND_MILLISECONDS
            )
            for name in names:
                rounds[name] += found[name]
            self.progress(stage, i + 1, _ROUNDS)
        medians = {name: np.array([np.median(r) for r in rounds[name]]) for name in names}
        every = np.concatenate([np.array(r) for r in rounds[names[0]]])
        ratio = interval = None
        if len(names) > 1:
            ratios = medians[names[0]] / medians[names[1]]
            low, middle, high = (float(q) for q in np.quantile(ratios, (0.1, 0.5, 0.9)))
            ratio, interval = middle, Interval(low, high)
        return Timing(
            threads,
            first,
            float(np.median(every)),
            float(np.quantile(every, 0.95)),
            ratio,
            interval,
            _ROUNDS,
        )

    async def first(self, name: str) -> float:
        """Return the milliseconds of one run, as the page sees them."""
        return float(await self._call("first", name, "./samples/0.safetensors"))

    async def runs(self, name: str, loading: Loading) -> Loading:
        """Run one sample of a model that loads; what stops it is as bad as not loading."""
        found = await self._tried("first", name, "./samples/0.safetensors")
        return refusal(found["error"]) if "error" in found else loading

    async def heap(self, name: str) -> int:
        """Return the bytes of the WebAssembly heap, which never shrinks."""
        return int(await self._call("heap", name))

    async def operators(self, singles: Sequence[Single]) -> tuple[OperatorCheck, ...]:
        """Ask the runtime for each kind of node alone."""
        for i, single in enumerate(singles):
            self.host.add(f"/nodes/{i}.onnx", single.content)
        self.host.add("/models/operators.onnx", identity())
        if not (await self.open("operators")).loads:
            return ()  # the runtime itself does not start
        addresses = [f"./nodes/{i}.onnx" for i in range(len(singles))]
        found = await self._call("operators", "operators", addresses)
        await self.close("operators")
        return tuple(
            OperatorCheck(s.operator, s.opset, s.types, s.nodes, error or "")
            for s, error in zip(singles, found, strict=True)
        )

    async def _tried(self, call: str, *args: Any) -> dict[str, Any]:
        """Wait as long as the page is alive: its worker ends what takes too long by itself."""
        work = asyncio.ensure_future(self.page.evaluate(_SCRIPT, [call, list(args)]))
        try:
            while not (await asyncio.wait({work}, timeout=_PULSE_SECONDS))[0]:
                await within(self.page.evaluate("0"), _PULSE_SECONDS)
            found: dict[str, Any] = await within(work)
        finally:
            work.cancel()
        return found

    async def _call(self, call: str, *args: Any) -> Any:
        found = await self._tried(call, *args)
        if "error" in found:
            meaning, hint = cause(found["error"])
            raise BrowserError(
                f"'{call}' failed in the browser: {found['error']} ({meaning})", hint=hint
            )
        return found["value"]


def refusal(said: str) -> Loading:
    """Return the verdict on a model that was refused with some words."""
    meaning, hint = cause(said)
    return Loading(False, said, meaning, hint)


def packed(feeds: Feeds) -> bytes:
    """Write a batch in the safetensors format."""
    from safetensors.numpy import save

    # numpy's ascontiguousarray would give a scalar an axis
    return save({name: np.asarray(values, order="C") for name, values in feeds.items()})
