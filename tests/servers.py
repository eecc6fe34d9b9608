"""Real servers on the loopback interface: with a bundle, or with a database."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_BROTLI = "/usr/lib/nginx/modules/ngx_http_brotli_static_module.so"


@contextmanager
def nginx(site: Path, scratch: Path) -> Iterator[str]:
    """Serve a bundle by a real nginx; its bodies are counted by :func:`sent`."""
    port = _free_port()
    user = "user root;\n" if os.geteuid() == 0 else ""
    config = scratch / "nginx.conf"
    config.write_text(
        f"load_module {_BROTLI};\n{user}daemon off; pid {scratch}/pid; error_log stderr error;\n"
        "events {}\nhttp { log_format sent '$body_bytes_sent';\n"
        f"access_log {scratch}/sent.log sent;\n"
        + "".join(
            f"{kind}_temp_path {scratch}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        + f"server {{ listen 127.0.0.1:{port}; root {site}; index index.html;\n"
        f"include {site}/nginx.conf; }} }}\n"
    )
    command = ["nginx", "-e", "stderr", "-p", str(scratch), "-c", str(config)]
    with _running(command, port) as address:
        yield address


@contextmanager
def caddy(site: Path, scratch: Path) -> Iterator[str]:
    """Serve a bundle by a real Caddy."""
    port = _free_port()
    config = scratch / "Caddyfile"
    config.write_text(
        "{\nadmin off\nauto_https off\n}\n"
        f"http://127.0.0.1:{port} {{\nroot * {site}\nimport {site}/Caddyfile\n}}\n"
    )
    command = ["caddy", "run", "--adapter", "caddyfile", "--config", str(config)]
    with _running(command, port) as address:
        yield address


def postgres_tools() -> Path | None:
    """Return the folder of PostgreSQL's programs, which Debian keeps off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


@contextmanager
def postgres(tools: Path) -> Iterator[str]:
    """Run a real PostgreSQL with an empty database; it refuses root, so root lends it a user."""
    with tempfile.TemporaryDirectory(prefix="sprat-postgres-") as scratch:
        lent: dict[str, Any] = {"cwd": scratch, "stdout": subprocess.DEVNULL}
        if os.geteuid() == 0:
            shutil.chown(scratch, "postgres", "postgres")
            lent |= {"user": "postgres", "group": "postgres", "extra_groups": []}
        place, port = f"{scratch}/data", _free_port()
        make = [str(tools / "initdb"), "-D", place, "-U", "sprat", "-A", "trust", "--no-sync"]
        subprocess.run([*make, "-E", "UTF8", "--locale=C"], check=True, **lent)
        options = f"-F -p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        control = [str(tools / "pg_ctl"), "-D", place, "-w", "-l", f"{scratch}/log"]
        subprocess.run([*control, "-o", options, "start"], check=True, **lent)
        try:
            yield f"postgresql://sprat@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True, **lent)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def _running(command: list[str], port: int) -> Iterator[str]:
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, f"{command[0]} does not start"
                assert time.monotonic() < end, "the server does not start"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def sent(scratch: Path) -> int:
    """Return the bytes of all bodies that nginx has sent so far."""
    return sum(int(size) for size in (scratch / "sent.log").read_text().split())
