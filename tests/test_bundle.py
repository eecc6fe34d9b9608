"""A bundle: the same bytes each time, within each host's limits, served by real servers."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

import sprat
from sprat.browser.static import serving_folder
from sprat.data.options import DataOptions
from sprat.delivery.bundle import Shape
from sprat.delivery.hosts import HOSTS, RULES, Host, check_limits, page_headers, settings
from sprat.delivery.manifest import integrity, read_manifest, schema, schema_text
from sprat.delivery.pieces import chunks
from sprat.errors import OptionError, OutputError
from sprat.files import sha256, sha256_file
from sprat.output import RECORD
from sprat.quantization.configs import Weights
from sprat.workflow.budget import Budget
from sprat.workflow.bundle import bundle
from sprat.workflow.optimize import optimize
from tests.servers import caddy, nginx

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "doodles"
MODEL = EXAMPLE / "doodles.onnx"
DATA = EXAMPLE / "data"
PUBLISHED = Path(__file__).resolve().parents[1] / "docs" / "manifest.schema.json"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundle") / "site"
    bundle(MODEL, out, preview=MODEL, data=DATA, shape=Shape(page=True), runtime="ort")
    return out


def files(folder: Path) -> dict[str, str]:
    found = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {p.relative_to(folder).as_posix(): sha256_file(p) for p in found}


def entries(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from (manifest["runtime"][key] for key in ("module", "glue", "wasm"))
    for model in manifest["models"]:
        yield from model["chunks"]


def manifest_of(site: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((site / "manifest.json").read_text())
    return found


def test_twice_the_same_bytes(site: Path, tmp_path: Path) -> None:
    bundle(
        MODEL, tmp_path / "again", preview=MODEL, data=DATA, shape=Shape(page=True), runtime="ort"
    )
    assert files(tmp_path / "again") == files(site)


def test_the_manifest_is_true(site: Path) -> None:
    manifest = manifest_of(site)
    Draft202012Validator(schema()).validate(manifest)
    for entry in entries(manifest):
        content = (site / entry["path"]).read_bytes()
        assert (len(content), sha256(content)) == (entry["bytes"], entry["sha256"])
        assert entry["sha256"][:16] in entry["path"]
        small = (site / f"{entry['path']}.br").read_bytes()
        assert (brotli.decompress(small), len(small)) == (content, entry["encoded"]["br"])
        packed = (site / f"{entry['path']}.gz").read_bytes()
        assert (gzip.decompress(packed), len(packed)) == (content, entry["encoded"]["gzip"])
    for model in manifest["models"]:
        whole = b"".join((site / c["path"]).read_bytes() for c in model["chunks"])
        assert sha256(whole) == model["sha256"] == sha256_file(MODEL)


def test_a_release_counts_on_where_something_changes(tmp_path: Path) -> None:
    out = tmp_path / "site"

    def release(model: Path, **how: Any) -> int:
        made = bundle(model, out, runtime="ort", **how)
        assert read_manifest(out) == made
        return made.release

    small = tmp_path / "small.onnx"
    sprat.save(sprat.quantize(sprat.load(MODEL), Weights(), []), small)
    assert release(small, name="m") == 1
    before = files(out)
    assert release(small, name="m") == 1  # the same again
    assert files(out) == before
    assert release(small, name="n") == 2
    assert release(small, name="m") == 3  # back to the first, and still newer
    assert release(small, name="m", release=7) == 7
    assert release(small, name="n", release=7) == 7
    assert release(small, name="m") == 8
    with pytest.raises(OptionError, match="--release: must be 8 or more, got 3"):
        release(small, release=3)
    assert manifest_of(out)["release"] == 8


def test_the_pin_is_the_hash_of_the_manifest_as_it_is_served(site: Path, tmp_path: Path) -> None:
    content = (site / "manifest.json").read_bytes()
    told = f"sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}"
    found = read_manifest(site)
    assert found is not None
    assert integrity(found) == told
    words = [sys.executable, "-m", "sprat", "bundle", str(MODEL), "--runtime", "ort"]
    for extra in ((), ("--json",)):
        out = tmp_path / f"site{len(extra)}"
        said = subprocess.run(
            [*words, "--out", str(out), *extra], capture_output=True, text=True, check=True
        ).stdout
        made = read_manifest(out)
        assert made is not None
        assert integrity(made) in said
        assert not extra or json.loads(said)["integrity"] == integrity(made)


def test_its_schema_is_published() -> None:
    assert PUBLISHED.read_text(encoding="utf-8") == schema_text()


@given(st.binary(max_size=400_000), st.integers(1, 1 << 20))
def test_chunks_join_to_what_was_cut(content: bytes, target: int) -> None:
    parts = chunks(content, target)
    assert b"".join(parts) == content
    assert all(len(part) % (64 << 10) == 0 for part in parts[:-1])


@pytest.mark.parametrize("host", HOSTS)
def test_each_host_gets_its_files(host: Host, tmp_path: Path) -> None:
    out = tmp_path / "site"
    headers = RULES[host].headers
    bundle(MODEL, out, data=DATA, shape=Shape(host=host, page=True, threads=headers), runtime="ort")
    manifest = manifest_of(out)
    assert manifest["decode"] == RULES[host].decode
    names = set(files(out))
    assert any(name.endswith(".br") for name in names) == RULES[host].siblings
    if manifest["decode"] == "gzip":
        chunk = manifest["models"][0]["chunks"][0]
        content = gzip.decompress((out / chunk["path"]).read_bytes())
        assert sha256(content) == chunk["sha256"]
    told = {
        "cloudflare-pages": "_headers",
        "netlify": "_headers",
        "vercel": "vercel.json",
        "github-pages": ".nojekyll",
        "s3-cloudfront": "upload.sh",
        "nginx": "nginx.conf",
        "caddy": "Caddyfile",
    }[host]
    assert told in names
    if headers:
        everything = "".join((out / n).read_text() for n in names if not _is_binary(n))
        assert "max-age=31536000, immutable" in everything
        assert "require-corp" in everything


def test_the_manifest_is_uploaded_last(site: Path, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    shutil.copytree(site, folder)
    for name, text in settings("s3-cloudfront", threads=False).items():
        (folder / name).write_text(text)
    (tmp_path / "aws").write_text('#!/bin/sh\necho "$4"\n')
    (tmp_path / "aws").chmod(0o755)
    done = subprocess.run(
        ["sh", str(folder / "upload.sh"), "s3://b/fish"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    sent = [line.removeprefix("s3://b/fish/") for line in done.stdout.splitlines()]
    kept = [name.startswith(("assets/", "runtime/")) for name in sent]
    assert kept == sorted(kept, reverse=True)
    assert sent[-1] == "manifest.json"
    plain = {n for n in files(site) if not n.endswith((".br", ".gz"))}
    assert sorted(sent) == sorted(plain - {RECORD})  # it is for the next run alone


def _is_binary(name: str) -> bool:
    return name.endswith((".png", ".bin", ".wasm", ".br", ".gz"))


def test_cloudflares_rules_fit_its_limits(tmp_path: Path) -> None:
    out = tmp_path / "site"
    bundle(MODEL, out, data=DATA, shape=Shape(host="cloudflare-pages", page=True), runtime="ort")
    lines = (out / "_headers").read_text().splitlines()
    assert sum(not line.startswith(" ") for line in lines) <= 100
    assert max(map(len, lines)) <= 2_000


def test_a_file_that_is_too_large_for_the_host_is_an_error() -> None:
    with pytest.raises(OptionError, match="26,214,400"):
        check_limits("cloudflare-pages", {"a": 30_000_000})
    with pytest.raises(OptionError, match="at most 20,000 files"):
        check_limits("cloudflare-pages", {str(i): 1 for i in range(20_001)})


def test_somebody_elses_manifest_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"manifest_version": 3, "name": "extension"}')
    with pytest.raises(OutputError, match=r"manifest\.json: was not written by Sprat"):
        bundle(MODEL, tmp_path, data=DATA, runtime="ort")


def test_wishes_that_a_host_cannot_grant_are_errors(tmp_path: Path) -> None:
    wishes = {
        "--threads": Shape(host="github-pages", threads=True),
        "--prefix": Shape(host="nginx", prefix="fish"),
    }
    for option, shape in wishes.items():
        with pytest.raises(OptionError, match=option):
            bundle(MODEL, tmp_path / "site", data=DATA, shape=shape, runtime="ort")


def test_what_optimize_knows_goes_in_and_only_for_its_own_model(tmp_path: Path) -> None:
    small = tmp_path / "small"
    options = DataOptions(threshold=2.5)
    budget = Budget(max_drop=30, minutes=0.1, preview=90_000)
    optimize(MODEL, DATA, small, budget=budget, options=options, limit=40)
    assert (small / "preview.onnx").is_file()
    told: list[str] = []
    shape = Shape(page=True)
    found = bundle(small, tmp_path / "site", shape=shape, runtime="ort", tell=told.append)
    assert found.reading is not None
    assert (found.reading.kind, found.reading.threshold) == ("logit", 2.5)
    assert found.classes == ("fish", "not_fish")
    # The smallest point of this curve is as small as the preview: nobody downloads it twice.
    assert [m.role for m in found.models] == ["full"]
    assert told[0].startswith("preview.onnx (")
    assert "is left out: it is not much smaller than" in told[0]
    shutil.copy(MODEL, small / "other.onnx")
    with pytest.raises(OptionError, match="not known"):
        bundle(small / "other.onnx", tmp_path / "other", shape=Shape(page=True), runtime="ort")
    optimize(MODEL, DATA, small, budget=replace(budget, preview=None), options=options, limit=40)
    assert not (small / "preview.onnx").exists()


def few(folder: Path) -> Path:
    """Copy a dozen images of each class and split."""
    for place in DATA.glob("*/*"):
        to = folder / place.relative_to(DATA)
        to.mkdir(parents=True)
        for path in sorted(place.iterdir())[:12]:
            shutil.copy(path, to)
    return folder


def test_a_preview_is_made_under_so_many_bytes(tmp_path: Path) -> None:
    data = few(tmp_path / "data")
    found = bundle(MODEL, tmp_path / "site", data=data, preview_bytes=40_000, runtime="ort")
    assert [m.role for m in found.models] == ["preview", "full"]
    preview, full = found.models
    assert 20_000 < sum(c.encoded["br"] for c in preview.chunks) <= 40_000
    assert full.bytes == len(sprat.load(MODEL).SerializeToString(deterministic=True))
    small = tmp_path / "small.onnx"
    sprat.save(sprat.quantize(sprat.load(MODEL), Weights(), []), small)
    for arguments, words in (
        ({"preview_bytes": 40_000}, "needs real samples"),
        ({"preview_bytes": 0, "data": data}, "above 0"),
        ({"preview_bytes": 9, "preview": small, "data": data}, "not both"),
        ({"preview_bytes": 9, "data": data}, "no point of 9 bytes or fewer"),
    ):
        with pytest.raises(OptionError, match=words):
            bundle(MODEL, tmp_path / "other", **arguments, runtime="ort")
    with pytest.raises(OptionError, match="no longer float"):
        bundle(small, tmp_path / "other", data=data, preview_bytes=40_000, runtime="ort")


# What a server does with it


def ask(address: str, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    host, _, port = address.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.putrequest("GET", path, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    response = connection.getresponse()
    body = response.read()
    found = {name.lower(): value for name, value in response.getheaders()}
    connection.close()
    return response.status, found, body


@contextmanager
def own(site: Path, scratch: Path) -> Iterator[str]:
    with serving_folder(site, page_headers(True)) as address:
        yield address


SERVERS = {"nginx": nginx, "caddy": caddy, "sprat serve": own}


@pytest.mark.parametrize("name", SERVERS)
def test_real_servers_negotiate_and_keep(name: str, tmp_path: Path) -> None:
    if name in ("nginx", "caddy") and shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    host: Host = "caddy" if name == "caddy" else "nginx"
    out, scratch = tmp_path / "site", tmp_path / "scratch"
    scratch.mkdir()
    bundle(MODEL, out, data=DATA, shape=Shape(host=host, page=True, threads=True), runtime="ort")
    chunk = manifest_of(out)["models"][0]["chunks"][0]
    plain = (out / chunk["path"]).read_bytes()
    with SERVERS[name](out, scratch) as address:
        path = f"/{chunk['path']}"
        status, headers, body = ask(address, path, accept_encoding="gzip, br")
        assert (status, headers.get("content-encoding")) == (200, "br")
        assert brotli.decompress(body) == plain
        assert "immutable" in headers["cache-control"]
        assert headers["cross-origin-embedder-policy"] == "require-corp"
        assert "wasm-unsafe-eval" in headers["content-security-policy"]
        status, headers, body = ask(address, path, accept_encoding="gzip")
        assert headers.get("content-encoding") == "gzip"
        assert gzip.decompress(body) == plain
        status, headers, body = ask(address, path)
        assert (status, headers.get("content-encoding"), body) == (200, None, plain)
        assert ask(address, path, if_none_match=headers["etag"])[0] == 304
        status, headers, _ = ask(address, "/manifest.json")
        assert headers["content-type"].startswith("application/json")
        assert "immutable" not in headers["cache-control"]
        wasm = f"/{manifest_of(out)['runtime']['wasm']['path']}"
        assert ask(address, wasm)[1]["content-type"] == "application/wasm"
        module = f"/{manifest_of(out)['runtime']['module']['path']}"
        assert "javascript" in ask(address, module)[1]["content-type"]
        assert ask(address, "/")[1]["content-type"].startswith("text/html")


HOSTILE = [
    *("/../secret.txt", "/assets/../../secret.txt", "/..%2fsecret.txt", "/%2e%2e/secret.txt"),
    *("/%2e%2e%2fsecret.txt", "/.%2e/secret.txt", "/%252e%252e/secret.txt", "/..;/secret.txt"),
    *("/..\\secret.txt", "/..%5csecret.txt", "/%5c..%5csecret.txt", "/\\secret.txt"),
    *("//secret.txt", "///secret.txt", "//etc/passwd", "/./../secret.txt", "/.//../secret.txt"),
    *("/assets/%2e%2e/%2e%2e/secret.txt", "/%c0%ae%c0%ae/secret.txt", "/%uff0e%uff0e/secret.txt"),
    *("/link.txt", "/linked/secret.txt", "/manifest.json/../../secret.txt", "/%00", "/a%00.json"),
    *("/manifest.json%00.txt", "/.git/config", "/.env", "/.hidden", "/assets/.hidden", "/."),
    *("/..", "/../", "/assets/..", "/assets/../..", "/etc/passwd", "/proc/self/environ"),
    *("/C:/secret.txt", "/C:%5csecret.txt", "/file:///etc/passwd", "/~root/secret.txt", "/*"),
    *("/?../secret.txt/..", "/assets", "/runtime/", "/con", "/nul", "/" + "a" * 5000),
    *("/" + "a/" * 600, "/" + "../" * 300 + "secret.txt", "/%2f%2fetc/passwd", "/sw.js/x"),
]


def test_no_hostile_request_leaves_the_folder(tmp_path: Path) -> None:
    out = tmp_path / "site"
    bundle(MODEL, out, data=DATA, runtime="ort")
    (tmp_path / "secret.txt").write_text("SECRET")
    (out / "link.txt").symlink_to(tmp_path / "secret.txt")
    (out / "linked").symlink_to(tmp_path)
    (out / ".hidden").write_text("SECRET")
    (out / "assets" / ".hidden").write_text("SECRET")
    assert len(HOSTILE) >= 50
    with serving_folder(out, page_headers(False)) as address:
        for path in HOSTILE:
            try:
                status, _, body = ask(address, path)
            except (http.client.HTTPException, ConnectionError):
                continue  # refused before it was a request
            assert status in (400, 404), path
            assert b"SECRET" not in body, path
            assert re.search(rb"root:|PATH=", body) is None, path
        assert ask(address, "/manifest.json")[0] == 200
