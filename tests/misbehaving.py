"""A server that serves a bundle and goes wrong on schedule."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sprat.browser.host import content_type, running

#: What can happen to one answer.
FAULTS = (
    *("cut", "500", "404", "429", "wrong bytes", "truncated", "html", "drip", "wrong length"),
    "silence",
)
#: What can happen to a visitor meanwhile.
EVENTS = ("", "tab closed", "out of quota", "service worker killed", "update in the middle")
HEADERS = {
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass
class Misbehaving:
    """Serves files from memory.

    Attributes:
        files: Content by path.
        faults: What happens to the next answers for a path, in order; none left: all is well.
        down: Nothing is answered at all.
        update: After so many answers the files are others: a new version is put in place.
        answered: Path and bytes of each answer.
        address: Where it serves.
    """

    files: dict[str, bytes]
    faults: dict[str, list[str]] = field(default_factory=dict)
    down: bool = False
    update: tuple[int, dict[str, bytes]] | None = None
    answered: list[tuple[str, int]] = field(default_factory=list)
    address: str = ""

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        path = "/index.html" if scope["path"] == "/" else scope["path"]
        if self.update is not None and len(self.answered) >= self.update[0]:
            self.files, self.update = self.update[1], None
        content = self.files.get(path)
        waiting = self.faults.get(path, [])
        fault = waiting.pop(0) if waiting else ""
        if self.down or fault == "cut":
            raise ConnectionResetError("as scheduled")
        if content is None:
            await _answer(send, 404, b"not found", "text/plain")
        elif fault in ("500", "404", "429"):
            await _answer(send, int(fault), b"as scheduled", "text/plain")
        elif fault == "html":
            await _answer(send, 200, b"<!doctype html><title>Log in</title>", "text/html")
        elif fault == "wrong bytes":
            await _answer(send, 200, bytes(b ^ 0x55 for b in content[:4096]) + content[4096:], path)
        elif fault == "truncated":
            await _answer(send, 200, content[: len(content) // 2], path)
        elif fault == "wrong length":
            await _start(send, 200, len(content) + 1000, path)
            await send({"type": "http.response.body", "body": content, "more_body": True})
            raise ConnectionResetError("as scheduled")
        elif fault == "silence":
            await _start(send, 200, len(content), path)
            await send({"type": "http.response.body", "body": content[:10], "more_body": True})
            await asyncio.sleep(3)
            raise ConnectionResetError("as scheduled")
        elif fault == "drip":
            await _start(send, 200, len(content), path)
            step = max(1, len(content) // 8)
            for start in range(0, len(content), step):
                part = content[start : start + step]
                await send({"type": "http.response.body", "body": part, "more_body": True})
                await asyncio.sleep(0.05)
            await send({"type": "http.response.body", "body": b""})
        else:
            self.answered.append((path, len(content)))
            await _answer(send, 200, content, path)


async def _start(send: Any, status: int, length: int, path: str) -> None:
    kind = path if "/" in path and not path.startswith("/") else content_type(path)
    headers = {**HEADERS, "content-type": kind, "content-length": str(length)}
    if "/assets/" in path or "/runtime/" in path:
        headers["cache-control"] = "public, max-age=31536000, immutable"
    else:
        headers["cache-control"] = "no-cache"
    pairs = [(k.encode(), v.encode()) for k, v in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})


async def _answer(send: Any, status: int, content: bytes, path: str) -> None:
    await _start(send, status, len(content), path)
    await send({"type": "http.response.body", "body": content})


def from_folder(folder: Path) -> dict[str, bytes]:
    """Read a bundle; compressed siblings are left out."""
    return {
        f"/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".br", ".gz")
    }


@dataclass(frozen=True)
class Schedule:
    """What goes wrong in one visit.

    Attributes:
        faults: As the server's.
        event: One of ``EVENTS``.
        moment: When it happens: a share of the load, 0 to 1.
    """

    faults: dict[str, list[str]]
    event: str
    moment: float


def schedule(seed: int, files: dict[str, bytes]) -> Schedule:
    """Choose faults for some of what a loader fetches, the same for the same seed."""
    chance = random.Random(seed)
    paths = [p for p in sorted(files) if "/assets/" in p or "/runtime/" in p] + ["/manifest.json"]
    ill = chance.sample(paths, chance.randint(1, min(6, len(paths))))
    faults = {path: chance.choices(FAULTS, k=chance.randint(1, 6)) for path in ill}
    return Schedule(faults, EVENTS[seed % len(EVENTS)], chance.random())


@contextmanager
def misbehaving(files: dict[str, bytes]) -> Iterator[Misbehaving]:
    """Serve while inside."""
    server = Misbehaving(files)
    with running(server) as address:
        server.address = address
        yield server
