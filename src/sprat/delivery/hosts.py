"""What each static host needs to be told, within its documented limits.

Sources: Cloudflare Pages "Headers" and "Limits"; Netlify "Custom headers" and "Limits"; Vercel
"Project configuration" and "Limits"; GitHub "GitHub Pages limits"; AWS CLI "s3 cp"; nginx
"ngx_http_gzip_static_module"; google/ngx_brotli; Caddy "file_server".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from sprat.browser.host import CSP
from sprat.delivery.manifest import Decode
from sprat.errors import OptionError

Host = Literal[
    "cloudflare-pages", "netlify", "vercel", "github-pages", "s3-cloudfront", "nginx", "caddy"
]
HOSTS: tuple[Host, ...] = get_args(Host)

_MB = 1_000_000
IMMUTABLE = "public, max-age=31536000, immutable"
BRIEF = "public, max-age=60, must-revalidate"


@dataclass(frozen=True)
class Rules:
    """What a host can do.

    Attributes:
        decode: ``http`` where files can be stored compressed and sent with ``content-encoding``.
        siblings: Compressed files lie beside the plain ones.
        most_files: Files in one site.
        largest: Bytes of one file.
        headers: Headers can be set.
    """

    decode: Decode
    siblings: bool
    most_files: int
    largest: int
    headers: bool = True


#: Hosts that compress by themselves do it at a level of their own, and not for models: there the
#: files are gzip, and the page decodes them.
RULES: dict[Host, Rules] = {
    "cloudflare-pages": Rules("gzip", False, 20_000, 25 << 20),
    "netlify": Rules("gzip", False, 54_000, 10_000 * _MB),
    "vercel": Rules("gzip", False, 15_000, 100 * _MB),
    "github-pages": Rules("gzip", False, 100_000, 100 * _MB, headers=False),
    "s3-cloudfront": Rules("http", True, 1_000_000, 5_000 * _MB),
    "nginx": Rules("http", True, 1_000_000, 1 << 40),
    "caddy": Rules("http", True, 1_000_000, 1 << 40),
}


def page_headers(threads: bool) -> dict[str, str]:
    """Return the headers of the page and its scripts."""
    found = {
        "content-security-policy": CSP,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }
    if threads:
        found |= {
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-embedder-policy": "require-corp",
        }
    return found


def check_wishes(host: Host | None, threads: bool, prefix: str) -> None:
    """Refuse what the host cannot be told.

    Raises:
        OptionError: Threads without headers, or a prefix that is no path.
    """
    if threads and (host is None or not RULES[host].headers):
        raise OptionError(
            f"{host or 'an unnamed host'} gets no headers, which threads need.",
            where="--threads",
            hint="Name a host that takes headers: --host nginx, for example.",
        )
    if prefix and host is None:
        raise OptionError("is for the settings of a host.", where="--prefix", hint="Give --host.")
    if re.fullmatch(r"(/[\w.-]+)*", prefix) is None or ".." in prefix:
        raise OptionError(f"must be a path such as /fish, got {prefix!r}.", where="--prefix")


def check_limits(host: Host, sizes: Mapping[str, int]) -> None:
    """Hold a bundle against the host's limits.

    Args:
        host: The host.
        sizes: Bytes of each file, by path.

    Raises:
        OptionError: It has too many files, or one that is too large.
    """
    rules = RULES[host]
    if len(sizes) > rules.most_files:
        raise OptionError(
            f"takes at most {rules.most_files:,} files, the bundle has {len(sizes):,}.",
            where=host,
            hint="Use larger chunks: --chunk 4MiB.",
        )
    largest = max(sizes, key=lambda path: sizes[path])
    if sizes[largest] > rules.largest:
        raise OptionError(
            f"takes files of at most {rules.largest:,} bytes; {largest} has {sizes[largest]:,}.",
            where=host,
            hint="Use smaller chunks: --chunk 256KiB.",
        )


def settings(host: Host, threads: bool, prefix: str = "") -> dict[str, str]:
    """Return the files that tell a host what to do, by name.

    Args:
        host: The host.
        threads: Isolate the page, so that threads work.
        prefix: Path of the bundle on the site, without a slash at its end.
    """
    page = page_headers(threads)
    if host in ("cloudflare-pages", "netlify"):
        return {"_headers": _headers_file(page, prefix)}
    if host == "vercel":
        return {"vercel.json": _vercel(page, prefix)}
    if host == "github-pages":
        return {".nojekyll": ""}
    if host == "s3-cloudfront":
        return {"upload.sh": _UPLOAD, "cloudfront-headers.json": _cloudfront(page)}
    if host == "nginx":
        return {"nginx.conf": _nginx(page, prefix)}
    return {"Caddyfile": _caddy(page, prefix)}


def _headers_file(page: Mapping[str, str], prefix: str) -> str:
    lines = [f"{prefix}/*", *(f"  {name}: {value}" for name, value in page.items())]
    for place in ("assets", "runtime"):
        lines += [f"{prefix}/{place}/*", f"  cache-control: {IMMUTABLE}"]
    for name in ("manifest.json", "index.html", "sw.js"):
        lines += [f"{prefix}/{name}", f"  cache-control: {BRIEF}"]
    return "\n".join(lines) + "\n"


def _vercel(page: Mapping[str, str], prefix: str) -> str:
    def rule(source: str, headers: Mapping[str, str]) -> dict[str, object]:
        listed = [{"key": name, "value": value} for name, value in headers.items()]
        return {"source": f"{prefix}{source}", "headers": listed}

    rules = [
        rule("/(.*)", page),
        rule("/(assets|runtime)/(.*)", {"cache-control": IMMUTABLE}),
        rule("/(manifest.json|index.html|sw.js)", {"cache-control": BRIEF}),
    ]
    return json.dumps({"headers": rules}, indent=2) + "\n"


def _cloudfront(page: Mapping[str, str]) -> str:
    """Return a response headers policy; CloudFront has fields of its own for three of them."""
    own = {
        "ContentSecurityPolicy": {"Override": True, "ContentSecurityPolicy": CSP},
        "ContentTypeOptions": {"Override": True},
        "ReferrerPolicy": {"Override": True, "ReferrerPolicy": page["referrer-policy"]},
    }
    items = [
        {"Header": name, "Value": value, "Override": True}
        for name, value in page.items()
        if name.startswith("cross-origin-")
    ]
    policy: dict[str, object] = {"Name": "sprat", "SecurityHeadersConfig": own}
    if items:
        policy["CustomHeadersConfig"] = {"Quantity": len(items), "Items": items}
    return json.dumps(policy, indent=2) + "\n"


_UPLOAD = """#!/bin/sh
# Upload a bundle to a bucket behind CloudFront: sh upload.sh s3://BUCKET/PATH
# Compressed files are stored under the plain names, with their content-encoding. Attach
# cloudfront-headers.json as a response headers policy, and let CloudFront not compress again.
set -eu
to=${1:?usage: sh upload.sh s3://BUCKET/PATH}
here=$(dirname "$0")
kind() {
  case $1 in
    *.html) echo text/html ;; *.js|*.mjs) echo text/javascript ;; *.css) echo text/css ;;
    *.json|*.webmanifest) echo application/json ;; *.wasm) echo application/wasm ;;
    *.png) echo image/png ;; *.svg) echo image/svg+xml ;; *) echo application/octet-stream ;;
  esac
}
# What the manifest and the page name comes before them, and the manifest last.
(cd "$here" && {
  find assets runtime -type f ! -name '*.br' ! -name '*.gz'
  find . -maxdepth 1 -type f ! -name '*.br' ! -name '*.gz' ! -name upload.sh \\
    ! -name cloudfront-headers.json ! -name manifest.json ! -name '.*'
  echo manifest.json
}) | sed 's#^\\./##' | while read -r name; do
  case $name in
    assets/*|runtime/*) age='public, max-age=31536000, immutable' ;;
    *) age='public, max-age=60, must-revalidate' ;;
  esac
  set -- --content-type "$(kind "$name")" --cache-control "$age"
  from=$here/$name
  if [ -f "$from.br" ]; then from=$from.br; set -- "$@" --content-encoding br; fi
  aws s3 cp "$from" "$to/$name" "$@"
done
"""


def _nginx(page: Mapping[str, str], prefix: str) -> str:
    """Return a fragment for a ``server`` block.

    An ``add_header`` in a location hides those around it, so each location has them all.
    """
    lines = "\n".join(f'    add_header {name} "{value}" always;' for name, value in page.items())
    root = "the folder above the bundle" if prefix else "the bundle"
    return f"""# Include this in a server block, with root at {root}.
# Needs the brotli-static module (Debian: libnginx-mod-http-brotli-static).
location {prefix}/ {{
    brotli_static on;
    gzip_static on;
    etag on;
    types {{
        text/html html; text/css css; text/javascript js mjs; application/json json;
        application/manifest+json webmanifest; application/wasm wasm; image/png png;
        image/svg+xml svg; application/octet-stream bin;
    }}
    add_header cache-control "{BRIEF}";
    add_header vary accept-encoding;
{lines}
}}
location ~ ^{prefix}/(assets|runtime)/ {{
    brotli_static on;
    gzip_static on;
    types {{
        text/css css; text/javascript js mjs; application/wasm wasm; image/png png;
        image/svg+xml svg; application/octet-stream bin;
    }}
    add_header cache-control "{IMMUTABLE}";
    add_header vary accept-encoding;
{lines}
}}
"""


def _caddy(page: Mapping[str, str], prefix: str) -> str:
    lines = "\n".join(f'    header {name} "{value}"' for name, value in page.items())
    root = "the folder above the bundle" if prefix else "the bundle"
    return f"""# Import this in a site block, with root at {root}.
handle {prefix}/* {{
{lines}
    @kept path {prefix}/assets/* {prefix}/runtime/*
    header @kept cache-control "{IMMUTABLE}"
    @brief not path {prefix}/assets/* {prefix}/runtime/*
    header @brief cache-control "{BRIEF}"
    file_server {{
        precompressed br gzip
    }}
}}
"""
