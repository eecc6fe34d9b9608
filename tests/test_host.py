"""The host of the pages that prove and try: other users of this machine get nothing of it."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sprat.browser.host import Host, serving, with_site
from sprat.workflow.tryout import tryout

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "doodles"
MODEL, DATA = EXAMPLE / "doodles.onnx", EXAMPLE / "data"
SECRET = b"a picture"
#: What a proof and a page to try have under these paths.
PATHS = (
    *("/prove.html", "/visit.html", "/try.json", "/images/0", "/samples/0.safetensors"),
    *("/models/model.onnx", "/runtime/ort.wasm.min.mjs", "/"),
)


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    found = with_site(Host(accepts=("/answers/",)))
    for path in PATHS:
        if path not in found.files:
            found.add(path, SECRET)
    with serving(found):
        yield found


def ask(
    address: str, path: str, method: str = "GET", body: bytes = b"", **headers: str
) -> tuple[int, bytes]:
    """Ask for a path of a host, whatever its address says of folders."""
    port = urlsplit(address).port
    assert port is not None
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body or None, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def token(host: Host) -> str:
    return urlsplit(host.address).path.removeprefix("/")


@pytest.mark.parametrize("path", PATHS)
def test_who_does_not_know_the_token_sees_nothing(host: Host, path: str) -> None:
    known = token(host)
    guesses = ["", "/x", f"/{known[:-1]}", f"/{known}x", f"/{known.upper()}", f"//{known}", "/%00"]
    for guess in (*guesses, f"/{'A' * len(known)}", f"/{known[::-1]}", f"/x/{known}"):
        status, body = ask(host.address, f"{guess}{path}")
        assert (status, body) == (404, b"not found"), guess
    assert ask(host.address, f"/{known}{path}")[0] == 200


def test_who_does_not_know_the_token_can_forge_no_answer(host: Host) -> None:
    origin = f"http://{urlsplit(host.address).netloc}"
    for path in ("/answers/model/0", "/x/answers/model/0", f"/{token(host)}x/answers/model/0"):
        assert ask(host.address, path, "POST", b"forged", Origin=origin)[0] == 404
    assert host.received == {}
    path = f"/{token(host)}/answers/model/0"
    assert ask(host.address, path, "POST", b"forged", Origin="http://evil.example")[0] == 404
    assert ask(host.address, path, "POST", b"forged")[0] == 404
    assert host.received == {}
    assert ask(host.address, path, "POST", b"true", Origin=origin)[0] == 204
    assert host.received == {"/answers/model/0": b"true"}


def test_another_site_cannot_be_led_here(host: Host) -> None:
    path = f"/{token(host)}/images/0"
    assert ask(host.address, path, Host="evil.example")[0] == 400
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
        assert ask(host.address, path, Origin=origin)[0] == 404


def test_each_host_has_a_token_of_its_own_that_is_long_and_not_shown() -> None:
    tokens = set()
    for _ in range(20):
        with serving(Host()) as host:
            tokens.add(token(host))
            assert token(host) not in repr(host)
    assert len(tokens) == 20
    assert min(map(len, tokens)) >= 32


def test_the_samples_of_a_page_to_try_need_the_token() -> None:
    with tryout(MODEL, MODEL, DATA) as address:
        for path in ("/", "/try.html", "/try.json", "/images/0", "/models/original.onnx"):
            assert ask(address, path)[0] == 404
            assert ask(address, urlsplit(address).path.rstrip("/") + path)[0] == 200


def test_the_token_is_no_argument_of_the_browser(tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    # All users of this machine see the arguments of a program; what they name is not for them.
    browser.write_text(
        '#!/bin/sh\npath=${1#file://}\necho "$1"\n'
        'echo "$(stat -c %a "$(dirname "$path")")"\necho "$(cat "$path")"\n'
    )
    browser.chmod(0o755)
    script = "from sprat.cli import main; import sys; sys.argv[0] = 'sprat'; main()"
    words = ["try", str(MODEL), "--reference", str(MODEL), "--data", str(DATA)]
    environment = {**os.environ, "BROWSER": f"{browser} %s"}
    command = [sys.executable, "-u", "-c", script, *words]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address, place, mode, content = (process.stdout.readline().strip() for _ in range(4))
        process.send_signal(signal.SIGINT)
    address = address.split()[0]
    secret = urlsplit(address).path.strip("/")
    assert secret
    assert secret not in place
    assert mode == "700"
    assert f"url={address}" in content
    assert not Path(place.removeprefix("file://")).exists()
