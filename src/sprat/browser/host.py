"""A server on the loopback interface that keeps what it serves in memory.

Every user of this machine can reach the loopback interface, and so can every page that a browser
here has open. What is served may be the user's own pictures, and what comes in becomes a proof. So
each host has a secret token, without which nothing is answered: the first folder of every address.
"""

from __future__ import annotations

import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import brotli

from sprat.browser.extra import require
from sprat.errors import OutputError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

#: The built pages, made from ``web/`` by ``make web``.
SITE = Path(__file__).parent / "site"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".wasm": "application/wasm",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".onnx": "application/octet-stream",
    ".safetensors": "application/octet-stream",
}
#: What a page with a model in WebAssembly needs, and no more. ``blob:``: the runtime's scripts are
#: run from the bytes that were checked, and not fetched once more by their address.
CSP = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval' blob:; img-src 'self' blob: data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": CSP,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
_START_SECONDS = 10.0
_MAX_BODY = 1 << 30
#: Bytes of a token: more than anybody can try.
_TOKEN_BYTES = 24


def content_type(path: str) -> str:
    """Return the media type that a file's ending stands for."""
    return _TYPES.get(Path(path).suffix, "application/octet-stream")


@dataclass(frozen=True)
class File:
    """One file that is served.

    Attributes:
        content: Its bytes, or a function that makes them when asked.
        kind: Media type.
        encoding: ``br`` where ``content`` is compressed so.
    """

    content: bytes | Callable[[], bytes]
    kind: str
    encoding: str = ""

    def body(self) -> bytes:
        """Return the bytes."""
        return self.content() if callable(self.content) else self.content


@dataclass
class Host:
    """What is served, and what came in.

    Paths, here, do not have the token; a page is told addresses relative to its own, such as
    ``./samples/0.safetensors``, and so never needs to know it.

    Attributes:
        files: By path, such as ``/prove.html``.
        accepts: A POST to a path with such a beginning is kept.
        received: Bodies of the POSTs, by path.
        sent: Bytes of all bodies sent since it was last set to 0.
        origin: ``http://127.0.0.1:PORT``.
        token: First folder of every address; who does not know it gets nothing.
    """

    files: dict[str, File] = field(default_factory=dict)
    accepts: tuple[str, ...] = ()
    received: dict[str, bytes] = field(default_factory=dict)
    sent: int = 0
    origin: str = ""
    token: str = field(default_factory=lambda: secrets.token_urlsafe(_TOKEN_BYTES), repr=False)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def address(self) -> str:
        """Return ``http://127.0.0.1:PORT/TOKEN``."""
        return f"{self.origin}/{self.token}"

    def path(self, asked: str) -> str | None:
        """Return a request's path without the token; None where it does not have the right one."""
        token, slash, path = asked.removeprefix("/").partition("/")
        known = secrets.compare_digest(token.encode(), self.token.encode())
        return f"/{path}" if known and slash else None

    def add(self, path: str, content: bytes | Callable[[], bytes], encoding: str = "") -> None:
        """Serve some bytes under a path."""
        self.files[path] = File(content, content_type(path), encoding)

    def add_json(self, path: str, value: Mapping[str, Any]) -> None:
        """Serve a JSON object under a path."""
        self.add(path, json.dumps(value).encode())


def built(name: str, what: str) -> Path:
    """Return where a file made from ``web/`` lies.

    Args:
        name: Its path under :data:`SITE`.
        what: It is part of, with the verb, for the error.

    Raises:
        OutputError: It has not been built.
    """
    path = SITE / name
    if not path.is_file():
        raise OutputError(
            f"{what} missing from this installation.",
            where=str(path),
            hint="In a clone of the repository, run 'make web' (it needs Node).",
        )
    return path


def site_files() -> dict[str, bytes]:
    """Return the built pages and the runtime by path; the runtime's files are brotli-compressed.

    Raises:
        OutputError: The pages have not been built.
    """
    built("prove.html", "the pages that prove a model are")
    return {
        f"/{path.relative_to(SITE).as_posix()}": path.read_bytes()
        for path in sorted(SITE.rglob("*"))
        if path.is_file()
    }


@cache
def runtime_list() -> dict[str, Any]:
    """Return package, version and files of the runtime that is served."""
    found: dict[str, Any] = json.loads(site_files()["/runtime/runtime.json"])
    return found


def with_site(host: Host) -> Host:
    """Serve the built pages."""
    for path, content in site_files().items():
        if path.endswith(".br"):
            host.add(path.removesuffix(".br"), content, "br")
        else:
            host.add(path, content)
    return host


@contextmanager
def serving(host: Host, port: int = 0) -> Iterator[Host]:
    """Serve while inside, on the loopback interface.

    Args:
        host: What is served; it may be added to meanwhile.
        port: 0 takes any free one.

    Yields:
        ``host`` with its address.

    Raises:
        OutputError: The port is taken.
        WebPackagesMissingError: A package of the extra ``web`` is missing.
    """
    require()
    with running(_application(host), port) as origin:
        host.origin = origin
        yield host


@contextmanager
def running(application: Any, port: int = 0) -> Iterator[str]:
    """Run an ASGI application on the loopback interface while inside.

    Args:
        application: The application.
        port: 0 takes any free one.

    Yields:
        ``http://127.0.0.1:PORT``.

    Raises:
        OutputError: The port is taken.
    """
    import uvicorn

    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise OutputError(
            f"port {port} cannot be used ({error.strerror}).",
            where="--port",
            hint="Choose another, or 0 for any.",
        ) from error
    config = uvicorn.Config(
        application, log_level="critical", lifespan="off", access_log=False, ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        end = time.monotonic() + _START_SECONDS
        while not server.started and thread.is_alive() and time.monotonic() < end:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(_START_SECONDS)
        listener.close()


def _application(host: Host) -> Any:
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    def answer(content: bytes, status: int, kind: str, extra: dict[str, str]) -> Response:
        with host.lock:
            host.sent += len(content)
        return Response(content, status, {**_HEADERS, **extra}, media_type=kind)

    def asked(request: Request) -> str | None:
        """Return what may be answered; a page of another site has no business here."""
        foreign = request.headers.get("origin", host.origin) != host.origin
        return None if foreign else host.path(request.url.path)

    def get(request: Request) -> Response:
        file = host.files.get(asked(request) or "")
        if file is None:
            return answer(b"not found", 404, "text/plain", {})
        content = file.body()
        if file.encoding and file.encoding not in request.headers.get("accept-encoding", ""):
            return answer(brotli.decompress(content), 200, file.kind, {})
        extra = {"content-encoding": file.encoding} if file.encoding else {}
        return answer(content, 200, file.kind, extra)

    async def post(request: Request) -> Response:
        path = asked(request)
        own = "origin" in request.headers and path is not None
        if path is None or not own or not path.startswith(host.accepts or ("\0",)):
            return answer(b"not found", 404, "text/plain", {})
        if int(request.headers.get("content-length", _MAX_BODY + 1)) > _MAX_BODY:
            return answer(b"too large", 413, "text/plain", {})
        host.received[path] = await request.body()
        return answer(b"", 204, "text/plain", {})

    return Starlette(
        routes=[
            Route("/{path:path}", get, methods=["GET"]),
            Route("/{path:path}", post, methods=["POST"]),
        ],
        middleware=own_name_only(),
    )


def own_name_only() -> list[Any]:
    """Answer requests to this machine's own names only: a page elsewhere cannot be led here."""
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    return [Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])]
