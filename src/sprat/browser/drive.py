"""What the proving page is told to do, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sprat.browser.causes import cause
from sprat.browser.chromium import Chromium, within
from sprat.browser.host import Host
from sprat.browser.single import Single, identity
from sprat.browser.types import Loading, OperatorCheck, Timing
from sprat.errors import BrowserError
from sprat.evaluate.types import Interval
from sprat.model.session import Feeds, Outputs
from sprat.progress import Progress

if TYPE_CHECKING:
    from playwright.async_api import Page

RUNTIME = {
    "module": "/runtime/ort.wasm.min.mjs",
    "glue": "/runtime/ort-wasm-simd-threaded.mjs",
    "wasm": "/runtime/ort-wasm-simd-threaded.wasm",
}
#: One call of the worker may take so long, in seconds.
CALL_SECONDS = 120.0
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
        chromium: The browser.
        page: The proving page.
        host: What it can fetch, and where its answers go.
        progress: Told how far the work is.
    """

    chromium: Chromium
    page: Page
    host: Host
    progress: Progress

    async def start(self) -> bool:
        """Open the page; say whether it is cross-origin isolated."""
        await within(self.page.goto(f"{self.host.address}/prove.html"))
        return bool(await within(self.page.evaluate("prove.isolated")))

    async def open(self, name: str, threads: int = 1) -> Loading:
        """Load the model that the host serves as ``/models/NAME.onnx``."""
        wanted = {
            "runtime": RUNTIME,
            "model": f"/models/{name}.onnx",
            "threads": threads,
            "limit": 1000 * CALL_SECONDS,
        }
        found = await self._tried("open", name, wanted)
        if "error" in found:
            said = found["error"]
            meaning, hint = cause(said)
            return Loading(False, said, meaning, hint)
        value = found["value"]
        return Loading(True, milliseconds=value["milliseconds"], heap=int(value["heap"]))

    async def close(self, name: str) -> None:
        """End a model's worker, so that its memory is free."""
        await self._call("close", name)

    async def answers(self, name: str, count: int, stage: str) -> Outputs:
        """Run samples ``0`` to ``count`` and return each output over all of them."""
        for start in range(0, count, _CHUNK):
            await self._call("answer", name, start, min(count, start + _CHUNK))
            self.progress(stage, min(count, start + _CHUNK), count)
        return self.received(f"/answers/{name}", count)

    async def looks(
        self, name: str, preprocess: dict[str, Any], count: int, stage: str
    ) -> tuple[Outputs, Outputs]:
        """Let the page preprocess images ``0`` to ``count`` and answer them.

        Returns:
            The inputs that it made, and the model's outputs on them.
        """
        for start in range(0, count, _CHUNK):
            await self._call("look", name, preprocess, start, min(count, start + _CHUNK))
            self.progress(stage, min(count, start + _CHUNK), count)
        return self.received("/prepared", count), self.received(f"/seen/{name}", count)

    def received(self, folder: str, count: int) -> Outputs:
        """Take the tensors that the page sent, joined along the first axis."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        parts: dict[str, list[Any]] = {}
        try:
            for i in range(count):
                for name, values in load(self.host.received.pop(f"{folder}/{i}")).items():
                    parts.setdefault(name, []).append(values)
        except (KeyError, SafetensorError) as error:
            raise BrowserError(f"the page sent no answer that can be read: {error}") from error
        return {name: np.concatenate(found) for name, found in parts.items()}

    async def timings(self, names: Sequence[str], threads: int, first: float) -> Timing:
        """Time models by turns; the first is the one meant, the second the original."""
        stage = "timing in the browser" + (f", {threads} threads" if threads > 1 else "")
        rounds: dict[str, list[list[float]]] = {name: [] for name in names}
        for i in range(_ROUNDS):
            order = list(names) if i % 2 == 0 else list(names)[::-1]
            found = await self._call(
                "time", order, "/samples/0.safetensors", 1, _ROUND_MILLISECONDS
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
        return float(await self._call("first", name, "/samples/0.safetensors"))

    async def heap(self, name: str) -> int:
        """Return the bytes of the WebAssembly heap, which never shrinks."""
        return int(await self._call("heap", name))

    async def operators(self, singles: Sequence[Single]) -> tuple[OperatorCheck, ...]:
        """Ask the runtime for each kind of node alone."""
        for i, single in enumerate(singles):
            self.host.add(f"/nodes/{i}.onnx", single.content)
        self.host.add("/models/operators.onnx", identity())
        await self.open("operators")
        addresses = [f"/nodes/{i}.onnx" for i in range(len(singles))]
        found = await self._call("operators", "operators", addresses)
        await self.close("operators")
        return tuple(
            OperatorCheck(s.operator, s.opset, s.types, s.nodes, error or "")
            for s, error in zip(singles, found, strict=True)
        )

    async def _tried(self, call: str, *args: Any) -> dict[str, Any]:
        limit = CALL_SECONDS * _CHUNK
        found: dict[str, Any] = await within(self.page.evaluate(_SCRIPT, [call, list(args)]), limit)
        return found

    async def _call(self, call: str, *args: Any) -> Any:
        found = await self._tried(call, *args)
        if "error" in found:
            meaning, hint = cause(found["error"])
            raise BrowserError(
                f"'{call}' failed in the browser: {found['error']} ({meaning})", hint=hint
            )
        return found["value"]


def packed(feeds: Feeds) -> bytes:
    """Write a batch in the safetensors format."""
    from safetensors.numpy import save

    return save({name: np.ascontiguousarray(values) for name, values in feeds.items()})
