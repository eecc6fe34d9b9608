"""The door for models: a stranger's file comes in whole and checked, or not at all."""

from __future__ import annotations

import stat
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from sprat.errors import ModelFormatError, ModelNotFoundError
from sprat.files import check_name, check_own, is_there, sha256, write_atomic
from sprat.limits import limited
from sprat.model.check import check, check_depth, check_text, too_deep
from sprat.model.external import MAX_BYTES, external_bytes, external_files, take_in
from sprat.model.foreign import name_foreign
from sprat.model.order import sort_nodes


def load(path: Path) -> onnx.ModelProto:
    """Load a model with its external data, and check it before anything native touches it.

    Args:
        path: An ``.onnx`` file.

    Returns:
        The model, complete in memory.

    Raises:
        ModelNotFoundError: There is no such file.
        ModelFormatError: It is not ONNX, or damaged.
        ExternalDataError: Its external data is missing, too short, or outside its folder.
        UnsupportedModelError: It uses an operator that does not exist here.
        CostlyModelError: That takes more than :mod:`sprat.limits` allow, or would in a runtime.
    """
    check_name(path)
    content = _read(path)
    with limited("reading the model", str(path), len(content)):
        model = _parse(path, content)
        check_depth(model, str(path))
        check_text(model, str(path))
    size = len(content) + external_bytes(model, path)
    with limited("loading the model", str(path), size) as in_time:
        take_in(model, path)
        in_time()
        sort_nodes(model)
        check(model, str(path))
        in_time()
    return model


def model_file(place: Path) -> Path:
    """Return ``place``, or ``place/model.onnx`` where it is a folder.

    Raises:
        ModelNotFoundError: The folder holds no ``model.onnx``.
    """
    if not is_there(place) or not place.is_dir():
        return place
    if not (place / "model.onnx").is_file():
        raise ModelNotFoundError(
            "the folder has no model.onnx.",
            where=str(place),
            hint="Make it with 'sprat optimize MODEL --data … --out DIR'.",
        )
    return place / "model.onnx"


def save(model: onnx.ModelProto, path: Path, base: onnx.ModelProto | None = None) -> Path:
    """Write a model in one file, by temporary file and rename, if it is a valid one.

    Args:
        model: The model.
        path: Where it goes. A file there is replaced, whoever wrote it; a link is refused.
        base: What it was made from; see :func:`sprat.model.result.result_bytes`. Without one the
            model is taken as the user's own, and only has to open in ONNX Runtime.

    Returns:
        ``path``.

    Raises:
        FaultyResultError: onnx's full check or ONNX Runtime refuses it.
        OutputError: It cannot be written, is above 2 GB, or ``path`` is a link.
    """
    from sprat.model.result import result_bytes  # ONNX Runtime, which 'inspect' does without

    check_own(path)
    return write_atomic(
        path, result_bytes(model, model if base is None else base, made_by=str(path))
    )


def total_bytes(path: Path) -> bytes:
    """Return a model's file and its external data, one behind the other: what a page downloads.

    Raises:
        ModelNotFoundError: There is no such file.
        ModelFormatError: It is not ONNX.
        ExternalDataError: See :func:`load`.
    """
    content = _read(path)
    if b"location" not in content:
        return content
    files = external_files(_parse(path, content), path)
    return content + b"".join(file.read_bytes() for file in files)


def is_whole(path: Path) -> bool:
    """Say whether a model's file holds all of it: none of its weights lie in files beside it."""
    return len(total_bytes(path)) == path.stat().st_size


def sha256_model(path: Path) -> str:
    """Return the SHA-256 of a model with its external data: what any result depends on."""
    return sha256(total_bytes(path))


def _read(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelNotFoundError("is not a file.", where=str(path), hint="Give the .onnx file.")
        if status.st_size > MAX_BYTES:
            raise ModelFormatError(
                f"has {status.st_size / 1e9:.1f} GB; at most 2 GB load.", where=str(path)
            )
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelNotFoundError("there is no such file.", where=str(path)) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ModelNotFoundError(f"cannot be read ({reason}).", where=str(path)) from error
    if not content:
        raise ModelFormatError("is empty.", where=str(path), hint="Download or export it again.")
    return content


def _parse(path: Path, content: bytes) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        if "MaxDepth" in str(error):
            raise too_deep(str(path)) from error
        raise _not_onnx(path, content) from error
    if not model.graph.node or not model.graph.output:
        raise _not_onnx(path, content)
    return model


def _not_onnx(path: Path, content: bytes) -> ModelFormatError:
    foreign = name_foreign(content)
    if foreign:
        return ModelFormatError(f"is not an ONNX model but {foreign}.", where=str(path))
    return ModelFormatError(
        f"is not a whole ONNX model ({len(content):,} bytes).",
        where=str(path),
        hint="The download was probably cut short: download or export it again.",
    )
