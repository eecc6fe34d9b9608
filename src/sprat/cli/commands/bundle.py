"""``sprat bundle``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sprat.cli.options import JsonOption, with_data_options
from sprat.cli.screen import as_json, bar, megabytes, note, say, table
from sprat.errors import OptionError

if TYPE_CHECKING:
    from sprat.delivery.manifest import ModelEntry, RuntimeEntry


@with_data_options
def command(
    model: Annotated[
        Path,
        typer.Argument(help="The model, or a folder that optimize wrote.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder; its other files stay.")],
    preview: Annotated[
        Path | None, typer.Option("--preview", help="A small model that answers first.")
    ] = None,
    preview_bytes: Annotated[
        int | None,
        typer.Option("--preview-bytes", help="Make a preview of at most so many br-11 bytes."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help="Samples, where the folder has no run.json of optimize."),
    ] = None,
    chunk: Annotated[
        str, typer.Option("--chunk", help="Bytes of one chunk on the wire, about.")
    ] = "64KiB",
    host: Annotated[
        str | None,
        typer.Option(
            "--host",
            help="cloudflare-pages, netlify, vercel, github-pages, s3-cloudfront, nginx or caddy.",
        ),
    ] = None,
    page: Annotated[
        bool, typer.Option("--page", help="Add the page on which a visitor draws.")
    ] = False,
    threads: Annotated[
        bool, typer.Option("--threads", help="Isolate the page (COOP, COEP): threads work.")
    ] = False,
    prefix: Annotated[
        str, typer.Option("--prefix", help="Path of the bundle on the site, such as /fish.")
    ] = "",
    runtime: Annotated[
        Literal["auto", "lean", "ort"],
        typer.Option(
            "--runtime",
            help="ort (ONNX Runtime Web), lean (70 KB, plain networks), or auto: the one that "
            "answers a first visitor earlier.",
        ),
    ] = "auto",
    then: Annotated[
        Path | None,
        typer.Option(
            "--then",
            help="A model that takes over in ONNX Runtime Web: one that '--goal fast' made.",
        ),
    ] = None,
    release: Annotated[
        int | None,
        typer.Option(
            "--release",
            min=1,
            help="Its number: pages refuse one before the last they had. By default it counts on "
            "from the bundle in --out.",
        ),
    ] = None,
    json: JsonOption = False,
    options: Any = None,
) -> None:
    """Make the folder that a static host serves: model in chunks, runtime, page, headers.

    \b
    Examples:
      sprat bundle small --out site --page
      sprat bundle small --out site --page --host nginx --runtime ort
      sprat bundle model.onnx --preview tiny.onnx --data photos --out site --host netlify
      sprat bundle model.onnx --preview-bytes 150000 --data photos --out site
    """
    from sprat.delivery.bundle import Shape
    from sprat.delivery.hosts import HOSTS
    from sprat.delivery.manifest import integrity
    from sprat.workflow.bundle import bundle

    chosen = next((known for known in HOSTS if known == host), None)
    if host is not None and chosen is None:
        raise OptionError(f"must be one of {', '.join(HOSTS)}, got {host!r}.", where="--host")
    shape = Shape(_bytes(chunk), chosen, page, threads, prefix.rstrip("/"))
    told: list[str] = []
    with bar(quiet=json) as progress:
        made = bundle(
            model,
            out,
            preview=preview,
            preview_bytes=preview_bytes,
            data=data,
            options=options,
            shape=shape,
            runtime=runtime,
            then=then,
            release=release,
            progress=progress,
            tell=told.append,
        )
    if json:
        as_json({**made.model_dump(mode="json"), "integrity": integrity(made)})
        return
    for line in told:
        note(line)
    rows = [
        _runtime_row("runtime", made.runtime),
        *((_role(m), "model", len(m.chunks), *_weight(m.chunks)) for m in made.models),
        *(_runtime_row("runtime, then", m.runtime) for m in made.models if m.runtime is not None),
    ]
    table("", ["part", "", ">files", ">decoded", ">on the wire"], rows)
    say(f'Release {made.release}; to pin it: load(url, {{ integrity: "{integrity(made)}" }})')
    if page:
        say(f"Look at it: sprat serve {out}")
    else:
        say("It has no page: import its loader.js in one of your own, or add --page.")


def _role(model: ModelEntry) -> str:
    return model.role if model.runtime is None else f"{model.role}, then"


def _runtime_row(name: str, runtime: RuntimeEntry) -> tuple[str, str, int, str, str]:
    files = (runtime.module, runtime.glue, runtime.wasm)
    return name, f"{runtime.package} {runtime.version}", len(files), *_weight(files)


def _weight(files: Any) -> tuple[str, str]:
    wire = sum(min(f.encoded.values()) for f in files)
    return megabytes(sum(f.bytes for f in files)), megabytes(wire)


def _bytes(text: str) -> int:
    """Read a size such as 256KiB, 1MB or 65536."""
    found = re.fullmatch(r"(\d+)\s*([kKmM]?)(i?)[bB]?", text.strip())
    if found is None or int(found[1]) == 0:
        raise OptionError(f"must be a size such as 256KiB, got {text!r}.", where="--chunk")
    base = 1024 if found[3] else 1000
    power = " km".index(found[2].lower() or " ")
    return int(int(found[1]) * base**power)
