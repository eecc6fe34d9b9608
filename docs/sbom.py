"""What the wheel carries that is not ours, as CycloneDX 1.6: ``python docs/sbom.py``.

Packages, versions, licences and hashes come from the lists that the build of the pages writes
(``src/sprat/browser/site/*/runtime.json``); the result, ``web/sbom.cdx.json``, goes into the
wheel's ``.dist-info/sboms`` (PEP 770).
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import quote

_ROOT = Path(__file__).parents[1]
_SITE = _ROOT / "src/sprat/browser/site"
LIST = _ROOT / "web/sbom.cdx.json"
#: Compiled from our own sources.
_OURS = ("helper.wasm", "lean.mjs")
#: Linked into a package's files, with no version told: see ``web/lean/LICENSES.txt``.
_LINKED = {
    "@tensorflow/tfjs-backend-wasm": (
        ("XNNPACK", "BSD-3-Clause", "https://github.com/google/XNNPACK"),
        ("pthreadpool", "BSD-2-Clause", "https://github.com/Maratyszcza/pthreadpool"),
        ("cpuinfo", "BSD-2-Clause", "https://github.com/pytorch/cpuinfo"),
        ("emscripten", "MIT", "https://github.com/emscripten-core/emscripten"),
        ("musl", "MIT", "https://musl.libc.org"),
    )
}


def text() -> str:
    """Return the list as it goes into the wheel."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "library",
                "bom-ref": "sprat",
                "name": project["name"],
                "version": project["version"],
                "licenses": _licences(project["license"]),
                "purl": f"pkg:pypi/{project['name']}@{project['version']}",
            }
        },
        "components": [_package(path.parent.name) for path in sorted(_SITE.glob("*/runtime.json"))],
    }
    return f"{json.dumps(found, indent=2)}\n"


def _package(room: str) -> dict[str, Any]:
    """Describe the package that the files of one folder of the site are of."""
    listed = json.loads((_SITE / room / "runtime.json").read_text(encoding="utf-8"))
    name, version = listed["package"], listed["version"]
    files = [
        {
            "type": "file",
            "name": f"sprat/browser/site/{room}/{file}",
            "hashes": [{"alg": "SHA-256", "content": known["sha256"]}],
            "description": "stored compressed by brotli; the hash is of what a page gets",
        }
        for file, known in listed["files"].items()
        if file not in _OURS
    ]
    linked = [
        {
            "type": "library",
            "name": part,
            "licenses": _licences(licence),
            "externalReferences": [{"type": "vcs", "url": url}],
        }
        for part, licence, url in _LINKED.get(name, ())
    ]
    return {
        "type": "library",
        "bom-ref": name,
        "name": name,
        "version": version,
        "licenses": _licences(listed["license"]),
        "purl": f"pkg:npm/{quote(name)}@{version}",
        "components": [*files, *linked],
    }


def _licences(name: str) -> list[dict[str, Any]]:
    return [{"license": {"id": name}}]


if __name__ == "__main__":
    LIST.write_text(text(), encoding="utf-8")
