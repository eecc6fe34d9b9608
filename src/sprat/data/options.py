"""How data is read: options, ``sprat.toml``, or ``preprocessor_config.json``."""

from __future__ import annotations

import json
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from sprat.data.huggingface import translate
from sprat.data.trust import check_trusted
from sprat.errors import OptionError

_TOML = "sprat.toml"
_HUGGING_FACE = "preprocessor_config.json"
_MAX_TEXT_BYTES = 1 << 20
#: Keys of each table of ``sprat.toml``.
_OUTPUT_KEYS = ("kind", "name", "threshold", "metric")
#: Tables of ``sprat.toml`` that hold options of one command.
_COMMANDS = ("distill", "tune")

Resize = Literal["stretch", "shortest", "letterbox"]
Channels = Literal["rgb", "bgr", "gray"]
Layout = Literal["nchw", "nhwc"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
Side = Annotated[int, Field(ge=1, le=16384)]
Number = Annotated[float, Field(allow_inf_nan=False)]


#: Options of another name on the command line, and those that it does not have.
FLAGS = {"name": "output", "kind": "output-kind"}
_UNSAID = {"interpolation", "pad"}


class DataOptions(BaseModel):
    """What can be said about data and outputs; what is not said is guessed.

    Attributes:
        size: Height and width that images are brought to.
        resize: ``stretch``, ``shortest`` (keep the shape, then crop) or ``letterbox`` (keep the
            shape, then pad).
        crop: Height and width of a centre crop after resizing.
        channels: ``rgb``, ``bgr`` or ``gray``.
        layout: ``nchw`` or ``nhwc``.
        scale: Factor on pixel values 0 to 255.
        mean: Subtracted after scaling, per channel.
        std: Divided by, per channel.
        interpolation: Filter for resizing.
        pad: Pixel value, 0 to 255, around a letterboxed image.
        labels: Class names in output order, or a file of them, one a line.
        kind: How the output is read: ``logit``, ``classes``, ``sequence`` or ``vector``.
        name: The output that decides, or several, of which the one that loses most does.
        threshold: Above it a logit is class 1.
        metric: Own metric, ``package.module:function``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: tuple[Side, Side] | None = None
    resize: Resize | None = None
    crop: tuple[Side, Side] | None = None
    channels: Channels | None = None
    layout: Layout | None = None
    scale: Number | None = None
    mean: tuple[Number, ...] | None = None
    std: tuple[Number, ...] | None = None
    interpolation: Interpolation | None = None
    pad: Annotated[int, Field(ge=0, le=255)] | None = None
    labels: str | tuple[str, ...] | None = None
    kind: Literal["logit", "classes", "sequence", "integers", "vector"] | None = None
    name: str | tuple[str, ...] | None = None
    threshold: Number | None = None
    metric: str | None = None

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs that were selected; empty where none were."""
        return (self.name,) if isinstance(self.name, str) else tuple(dict.fromkeys(self.name or ()))

    @field_validator("std")
    @classmethod
    def _no_zero(cls, std: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if std is not None and 0 in std:
            raise ValueError("it is divided by, so none may be 0")
        return std


def read_options(
    model: Path | None, data: Path | None, given: DataOptions | None = None
) -> DataOptions:
    """Gather options: those given first, then ``sprat.toml``, then ``preprocessor_config.json``.

    ``sprat.toml`` is looked for beside the model, in the data folder, and in the current folder;
    the first one found counts. ``preprocessor_config.json`` (Hugging Face's form) is looked for
    beside the model. A crop belongs to the size that it was written with: a source that sets the
    size drops a crop from the sources after it.

    Args:
        model: The model's file.
        data: The data's folder or file.
        given: Options that go before all others.

    Returns:
        The options.

    Raises:
        OptionError: A file cannot be read, says something that is not understood, or names code
            and is not trusted.
    """
    found: dict[str, Any] = {}
    for more in _sources(model, data, given):
        if "size" in more:
            found.pop("crop", None)
        found |= more
    return DataOptions(**found)


def as_toml(options: DataOptions) -> str:
    """Return options as the text of a ``sprat.toml`` that says the same.

    Args:
        options: Without a metric, which is code and stays with its user.
    """
    given = options.model_dump(exclude_none=True, exclude={"metric"})
    tables = {
        table: {k: v for k, v in given.items() if (k in _OUTPUT_KEYS) == is_output}
        for table, is_output in (("data", False), ("output", True))
    }
    return tomli_w.dumps({table: rows for table, rows in tables.items() if rows})


def as_words(options: DataOptions) -> list[str]:
    """Return options as words of a command line.

    Args:
        options: Those that no command line can say (a filter, names of classes that are in no file)
            are left out: they are in a ``sprat.toml``.
    """
    words = []
    for key, value in options.model_dump(exclude_none=True, exclude=_UNSAID).items():
        if key == "labels" and not isinstance(value, str):
            continue
        if key == "name":
            words += [word for name in options.outputs for word in ("--output", name)]
            continue
        joint = "x" if key in ("size", "crop") else ","
        text = joint.join(map(str, value)) if isinstance(value, tuple) else str(value)
        words += [f"--{FLAGS.get(key, key)}", text]
    return words


def read_lines(path: Path) -> list[str]:
    """Read a small UTF-8 file as stripped lines that are not empty.

    Raises:
        OptionError: The file is missing, above 1 MB, or not UTF-8.
    """
    return [line.strip() for line in _text(path).splitlines() if line.strip()]


def _sources(
    model: Path | None, data: Path | None, given: DataOptions | None
) -> Iterator[dict[str, Any]]:
    """Yield what each source says, the weakest first."""
    if model is not None and (model.parent / _HUGGING_FACE).is_file():
        yield _from_hugging_face(model.parent / _HUGGING_FACE)
    beside = None if model is None else model.parent
    inside = None if data is None else data if data.is_dir() else data.parent
    places = (p / _TOML for p in (beside, inside, Path()) if p is not None)
    toml = next((p for p in places if p.is_file()), None)
    if toml is not None:
        found = _from_toml(toml)
        if "metric" in found and given is not None and given.metric is not None:
            del found["metric"]
        if "metric" in found:
            _check_code(toml)
        yield found
    if given is not None:
        yield given.model_dump(exclude_none=True)


def _check_code(toml: Path) -> None:
    """Check that a found file may name a metric."""
    if toml.resolve().parent != Path.cwd():
        raise OptionError(
            "names a metric, which is code: only the current folder's sprat.toml and the "
            "command line may.",
            where=str(toml),
            hint="Remove it there, and give --metric yourself if you trust it.",
        )
    check_trusted(toml, ["metric"])


def read_table(path: Path, command: str) -> dict[str, Any]:
    """Return the options of one command in a ``sprat.toml``; none where it has no such table.

    Args:
        path: The file.
        command: ``distill`` or ``tune``.

    Raises:
        OptionError: It cannot be read, or the table is none.
    """
    found = _toml(path).get(command, {})
    if not isinstance(found, dict):
        raise OptionError(
            f"has a value {command!r}; it must be a table.",
            where=str(path),
            hint=f"Write [{command}] on a line of its own, and below it one option a line.",
        )
    return found


def read_file(path: Path) -> DataOptions:
    """Return what a ``sprat.toml`` that the user named says of data and outputs.

    Raises:
        OptionError: It cannot be read, or says something that is not understood.
    """
    return DataOptions(**_from_toml(path))


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError as error:
        raise OptionError(f"is not TOML: {error}.", where=str(path)) from error
    except RecursionError as error:
        raise OptionError("is not TOML: it is nested too deeply.", where=str(path)) from error


def _from_toml(path: Path) -> dict[str, Any]:
    content = _toml(path)
    data_keys = tuple(key for key in DataOptions.model_fields if key not in _OUTPUT_KEYS)
    known = {"data": data_keys, "output": _OUTPUT_KEYS}
    merged: dict[str, Any] = {}
    for table, values in content.items():
        if table in _COMMANDS:
            continue
        if table not in known or not isinstance(values, dict):
            raise OptionError(
                f"has {table!r} where only the tables [data] and [output] may be.", where=str(path)
            )
        for key in values:
            if key not in known[table]:
                raise OptionError(
                    f"[{table}] has the unknown key {key!r}; known are {', '.join(known[table])}.",
                    where=str(path),
                )
        merged |= values
    found = _checked(merged, path)
    if isinstance(found.get("labels"), str):
        found["labels"] = str(_below(path, found["labels"]))
    return found


def _below(toml: Path, name: str) -> Path:
    """Return a file that a ``sprat.toml`` names, which must lie below its folder.

    Raises:
        OptionError: It does not, or a link leads out of the folder.
    """
    place = toml.parent / name
    try:
        inside = place.resolve().is_relative_to(toml.parent.resolve())
    except (OSError, ValueError, RuntimeError) as error:  # a name too long, a circle of links
        raise OptionError(f"labels: {error}.", where=str(toml)) from error
    if not inside:
        raise OptionError(
            f"labels: {name!r} is not below the folder of this file.",
            where=str(toml),
            hint="Put the file of names beside it, or give --labels yourself.",
        )
    return place


def _from_hugging_face(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise OptionError(f"is not JSON: {error}.", where=str(path)) from error
    if not isinstance(content, dict):
        raise OptionError(f"holds {type(content).__name__}, must hold an object.", where=str(path))
    return _checked(translate(content), path)


def _checked(found: dict[str, Any], path: Path) -> dict[str, Any]:
    try:
        return DataOptions(**found).model_dump(exclude_none=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        got = repr(first["input"])[:80]
        raise OptionError(f"{key}: {first['msg']}, got {got}.", where=str(path)) from error


def _text(path: Path) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise OptionError("is not a file.", where=str(path))
        with path.open("rb") as file:
            content = file.read(_MAX_TEXT_BYTES + 1)
        text = content.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise OptionError(f"cannot be read: {error}.", where=str(path)) from error
    if len(content) > _MAX_TEXT_BYTES:
        raise OptionError("is above 1 MB.", where=str(path))
    return text
