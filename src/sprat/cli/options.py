"""Options that several commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from sprat.cli.config import check_found_file
from sprat.errors import OptionError

ModelArgument = Annotated[Path, typer.Argument(help="The ONNX model.", show_default=False)]
DataOption = Annotated[
    str,
    typer.Option(
        "--data",
        help="Samples: a folder (classes, or train/val/test), a CSV of path,label, an .npz of "
        "tensors, or package.module:function.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of every choice that needs one.")]
LimitOption = Annotated[
    int | None, typer.Option("--limit", min=1, help="At most so many samples of each split.")
]

OnlyOutputsOption = Annotated[
    bool,
    typer.Option(
        "--only-outputs", help="Drop the outputs that --output does not select, from the file too."
    ),
]
PortOption = Annotated[int, typer.Option("--port", help="0 takes any free one.", min=0, max=65535)]

TrustOption = Annotated[
    bool,
    typer.Option("--trust", help="The current folder's sprat.toml may name code, now and later."),
]
_DATA_OPTIONS: dict[str, tuple[Any, Any]] = {
    "size": (str | None, typer.Option("--size", help="Height x width, such as 224x224.")),
    "resize": (str | None, typer.Option("--resize", help="stretch, shortest or letterbox.")),
    "crop": (str | None, typer.Option("--crop", help="Centre crop, height x width.")),
    "channels": (str | None, typer.Option("--channels", help="rgb, bgr or gray.")),
    "layout": (str | None, typer.Option("--layout", help="nchw or nhwc.")),
    "scale": (float | None, typer.Option("--scale", help="Factor on pixels 0 to 255.")),
    "mean": (str | None, typer.Option("--mean", help="Per channel, such as 0.485,0.456,0.406.")),
    "std": (str | None, typer.Option("--std", help="Per channel, such as 0.229,0.224,0.225.")),
    "labels": (str | None, typer.Option("--labels", help="File of class names in output order.")),
    "name": (
        list[str] | None,
        typer.Option("--output", help="Output that is measured and decides. Repeatable."),
    ),
    "kind": (
        str | None,
        typer.Option("--output-kind", help="logit, classes, sequence, integers or vector."),
    ),
    "threshold": (float | None, typer.Option("--threshold", help="Above it a logit is class 1.")),
    "metric": (str | None, typer.Option("--metric", help="Own metric: package.module:function.")),
}


def with_data_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options on data, and hand them over as ``options: DataOptions | None``."""

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        del given["trust"]  # asked of the context, which knows who said it
        check_found_file(given.pop("context"))
        found = {key: given.pop(key) for key in _DATA_OPTIONS}
        command(**given, options=_data_options(found))

    own = inspect.signature(command, eval_str=True).parameters
    parameters = [p for name, p in own.items() if name != "options"]
    for name, (kind, option) in _DATA_OPTIONS.items():
        parameters.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[kind, option],
            )
        )
    more = (("trust", False, TrustOption), ("context", inspect.Parameter.empty, typer.Context))
    for name, default, annotation in more:
        parameters.append(
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
            )
        )
    wrapper.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    )
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    del wrapper.__wrapped__
    return wrapper


def _data_options(given: dict[str, Any]) -> Any:
    """Turn the words of the command line into ``DataOptions``."""
    from pydantic import ValidationError

    from sprat.data.options import FLAGS, DataOptions

    values: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
    if "name" in values:
        values["name"] = values["name"][0] if len(values["name"]) == 1 else tuple(values["name"])
    for key in ("size", "crop"):
        if key in values:
            values[key] = tuple(numbers(key, values[key].lower().replace("x", ","), int))
    for key in ("mean", "std"):
        if key in values:
            values[key] = tuple(numbers(key, values[key], float))
    try:
        return DataOptions(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "options"
        shown = FLAGS.get(name, name)
        raise OptionError(f"{first['msg']}, got {first['input']!r}.", where=f"--{shown}") from error


def numbers(key: str, text: str, kind: Callable[[str], Any]) -> list[Any]:
    """Read numbers with commas between them; none from an empty text.

    Raises:
        OptionError: One is no number.
    """
    try:
        return [kind(part) for part in text.split(",") if text.strip()]
    except ValueError as error:
        raise OptionError(f"must be numbers, got {text!r}.", where=f"--{key}") from error
