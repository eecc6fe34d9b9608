"""``sprat try``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from sprat.cli.options import DataOption, PortOption, with_data_options
from sprat.cli.screen import bar, open_page, say, wait_for_interrupt


@with_data_options
def command(
    model: Annotated[
        Path,
        typer.Argument(
            help="The small model, or a folder that optimize wrote.", show_default=False
        ),
    ],
    reference: Annotated[
        Path, typer.Option("--reference", help="The original.", show_default=False)
    ],
    data: DataOption,
    port: PortOption = 0,
    open_: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in the browser.")
    ] = True,
    options: Any = None,
) -> None:
    """Try both models on a local page: draw or drop an image, compare answers, times, bytes.

    Served to this machine only, until Ctrl-C, and only to who has the whole address: its token is
    secret.

    \b
    Examples:
      sprat try small --reference model.onnx --data photos
      sprat try small --reference model.onnx --data photos --port 8000 --no-open
    """
    from sprat.workflow.tryout import tryout

    with ExitStack() as stack:
        with bar() as progress:
            address = stack.enter_context(
                tryout(model, reference, data, options=options, port=port, progress=progress)
            )
        # A browser in a sandbox (snap, flatpak) cannot read the file that leads there.
        by_hand = "; where no page opens, open this address yourself" if open_ else ""
        say(f"{address}  (Ctrl-C ends it{by_hand})")
        if open_:
            folder = stack.enter_context(TemporaryDirectory(prefix="sprat-try-"))
            open_page(_redirect(address, Path(folder)))
        wait_for_interrupt()


def _redirect(address: str, folder: Path) -> str:
    """Return the address of a file that leads there and that only this user can read.

    All users of the machine see the arguments of a program: the browser's must not hold the token.
    """
    page = folder / "open.html"
    page.write_text(f'<!doctype html><meta http-equiv="refresh" content="0; url={address}">')
    return page.as_uri()
