"""``manifest.json`` of a bundle: what a page loads, in which order, and what it must hash to.

The JSON Schema made from :class:`Manifest` is published as ``docs/manifest.schema.json``; the
loader in ``web/src/manifest.ts`` reads the same.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic.json_schema import GenerateJsonSchema

from sprat.files import sha256
from sprat.record.schema import ReadingRecord

Role = Literal["preview", "full"]
Decode = Literal["http", "gzip"]
RuntimeKind = Literal["ort", "lean"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Part):
    """One file, whose name holds its hash: its content never changes."""

    path: str = Field(description="Relative to the manifest.")
    bytes: int = Field(ge=0, description="Decoded bytes.")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="Of the decoded bytes.")
    encoded: dict[str, int] = Field(description="Bytes on the wire by encoding: br, gzip.")
    packed: bool = Field(default=False, description="The file itself is gzip: the page decodes it.")


class RuntimeEntry(_Part):
    """The runtime that the bundle brings along."""

    kind: RuntimeKind = Field(
        default="ort", description="lean: the models are plans with their weights, not ONNX."
    )
    package: str
    version: str
    module: FileEntry
    glue: FileEntry
    wasm: FileEntry


class ModelEntry(_Part):
    """One model in chunks."""

    role: Role
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    chunks: tuple[FileEntry, ...] = Field(min_length=1)
    source: str | None = Field(
        default=None, description="SHA-256 of the ONNX model that it was compiled from."
    )
    runtime: RuntimeEntry | None = Field(
        default=None, description="What it needs instead of the manifest's own runtime."
    )


class Manifest(_Part):
    """The whole list."""

    sprat: Literal[1] = 1
    name: str
    version: str = Field(description="SHA-256 over everything else in the manifest.")
    release: int = Field(
        default=1,
        ge=1,
        description="Counts up with every change; a visitor who had a later one refuses it.",
    )
    decode: Decode = Field(
        description="http: the host sends compressed files. gzip: the large files are packed."
    )
    runtime: RuntimeEntry
    models: tuple[ModelEntry, ...] = Field(min_length=1, description="In the order of loading.")
    preprocess: dict[str, JsonValue] | None = None
    reading: ReadingRecord | None = None
    classes: tuple[str, ...] = ()


def numbered(made: Manifest, before: Manifest | None, release: int | None) -> Manifest:
    """Give a manifest its release and its version.

    Args:
        made: The manifest, complete but for both.
        before: The one that it replaces; None for none.
        release: The release that is wanted; None keeps that of ``before`` where nothing else
            changes, and else takes the next.

    Returns:
        The manifest: the same arguments give the same one.
    """
    found = _versioned(made, release or (before.release if before is not None else 1))
    if release is None and before is not None and found.version != before.version:
        return _versioned(made, before.release + 1)
    return found


def _versioned(made: Manifest, release: int) -> Manifest:
    bare = made.model_copy(update={"release": release, "version": ""})
    return bare.model_copy(update={"version": sha256(bare.model_dump_json().encode())})


def integrity(manifest: Manifest) -> str:
    """Return what a page gives the loader to take this very manifest: ``sha256-`` and base64."""
    digest = hashlib.sha256(manifest_text(manifest).encode()).digest()
    return f"sha256-{b64encode(digest).decode()}"


def read_manifest(folder: Path) -> Manifest | None:
    """Return a bundle's manifest; None where the folder is no bundle."""
    try:
        return Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    except (OSError, ValidationError):
        return None


def is_bundle(folder: Path) -> bool:
    """Say whether a folder is a bundle: its ``manifest.json`` is one of ours."""
    return read_manifest(folder) is not None


def manifest_text(manifest: Manifest) -> str:
    """Return a manifest as JSON text."""
    return json.dumps(manifest.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"


def schema() -> dict[str, Any]:
    """Return the JSON Schema of ``manifest.json``."""
    return {"$schema": GenerateJsonSchema.schema_dialect, **Manifest.model_json_schema()}


def schema_text() -> str:
    """Return the JSON Schema as it is published in ``docs/manifest.schema.json``."""
    return json.dumps(schema(), indent=2, sort_keys=True) + "\n"
