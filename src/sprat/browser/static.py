"""Serve a folder as a static host does: compressed siblings, ETag, caching, no way out of it."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from sprat.browser.extra import require
from sprat.browser.host import content_type, own_name_only, running

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

_ENCODINGS = {"br": ".br", "gzip": ".gz"}
_LONGEST_PATH = 1024
_BLOCK = 16 << 10


def serving_folder(
    folder: Path,
    headers: dict[str, str],
    *,
    port: int = 0,
    mbps: float | None = None,
    sent: Callable[[int], object] | None = None,
) -> AbstractContextManager[str]:
    """Serve a folder on the loopback interface while inside; gives the address.

    Args:
        folder: What is served; nothing outside of it, by links, dots or encodings.
        headers: Of every answer.
        port: 0 takes any free one.
        mbps: Slow all answers together down to so many 10^6 bits a second.
        sent: Told the bytes of each file that is sent.

    Raises:
        WebPackagesMissingError: A package of the extra ``web`` is missing.
    """
    require()
    line = _Line(mbps) if mbps is not None else None
    root = folder.resolve()

    async def answer(request: Request) -> Response:
        from starlette.responses import Response, StreamingResponse

        found = find(root, request.scope["path"], request.headers.get("accept-encoding", ""))
        if found is None:
            return Response(b"not found", 404, headers, media_type="text/plain")
        path, encoding, plain = found
        status = path.stat()
        tag = f'"{status.st_mtime_ns:x}-{status.st_size:x}{encoding}"'
        kept = plain.startswith(("assets/", "runtime/"))
        told = {
            **headers,
            "etag": tag,
            "vary": "accept-encoding",
            "cache-control": "public, max-age=31536000, immutable" if kept else "max-age=60",
        }
        if request.headers.get("if-none-match") == tag:
            return Response(b"", 304, told)
        if encoding:
            told["content-encoding"] = encoding
        content = path.read_bytes()
        if sent is not None:
            sent(len(content))
        kind = content_type(plain)
        if line is None:
            return Response(content, 200, told, media_type=kind)
        told["content-length"] = str(len(content))
        return StreamingResponse(line.slowly(content), 200, told, media_type=kind)

    return running(_routed(answer), port)


def _routed(answer: Callable[[Request], Awaitable[Response]]) -> Any:
    from starlette.applications import Starlette
    from starlette.routing import Route

    route = Route("/{path:path}", answer, methods=["GET", "HEAD"])
    return Starlette(routes=[route], middleware=own_name_only())


class _Line:
    """All answers share one line, block by block."""

    def __init__(self, mbps: float) -> None:
        self._seconds = _BLOCK * 8 / (mbps * 1e6)
        self._free = 0.0

    async def slowly(self, content: bytes) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        for start in range(0, len(content), _BLOCK):
            block = content[start : start + _BLOCK]
            now = loop.time()
            self._free = max(self._free, now) + self._seconds * len(block) / _BLOCK
            await asyncio.sleep(self._free - now)
            yield block


def find(root: Path, asked: str, accepts: str) -> tuple[Path, str, str] | None:
    """Find what a request asks for.

    Args:
        root: The folder, resolved.
        asked: The request's path, percent-decoded.
        accepts: Its ``accept-encoding``.

    Returns:
        The file, its content encoding (empty for none) and its plain path; None where there is no
        such file inside the folder.
    """
    if len(asked) > _LONGEST_PATH or "\0" in asked or "\\" in asked:
        return None
    plain = asked.lstrip("/")
    if not plain or plain.endswith("/"):
        plain += "index.html"
    parts = PurePosixPath(plain).parts
    if any(part in ("..", ".") or part.startswith(".") for part in parts) or "//" in asked:
        return None
    allowed = {word.split(";")[0].strip() for word in accepts.split(",")}
    for encoding, ending in _ENCODINGS.items():
        if encoding in allowed and _inside(root, root / f"{plain}{ending}"):
            return root / f"{plain}{ending}", encoding, plain
    return (root / plain, "", plain) if _inside(root, root / plain) else None


def _inside(root: Path, path: Path) -> bool:
    """Say whether a path is a plain file below the root, with no link on the way."""
    try:
        if Path(os.path.realpath(path)) != path:
            return False
        return path.is_relative_to(root) and stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False
