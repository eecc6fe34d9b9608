"""External data: weights in files beside the model, which may lie nowhere else."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx.external_data_helper import uses_external_data

from sprat.errors import ExternalDataError
from sprat.model.nodes import all_tensors, shown

#: protobuf cannot hold more, and no web page would load it.
MAX_BYTES = 2**31 - 1


def external_files(model: onnx.ModelProto, path: Path) -> list[Path]:
    """Return the files of external data that a model uses, sorted.

    Raises:
        ExternalDataError: One is missing, too large, or outside the model's folder.
    """
    locations = {_entries(t).get("location", "") for t in _external(model)}
    return sorted(_inside(path, location) for location in locations)


def external_bytes(model: onnx.ModelProto, path: Path) -> int:
    """Return how many bytes of external data a model takes in.

    Raises:
        ExternalDataError: As :func:`take_in` does.
    """
    return sum(length for _, _, length in (_part(tensor, path) for tensor in _external(model)))


def take_in(model: onnx.ModelProto, path: Path) -> None:
    """Read external data into the model.

    Args:
        model: The model; its tensors are changed to hold their data.
        path: The model's file. Data must lie in its folder or below.

    Raises:
        ExternalDataError: A file is missing, too short, too large, or outside the folder.
    """
    tensors = _external(model)
    parts = [_part(tensor, path) for tensor in tensors]
    total = sum(length for _, _, length in parts)
    if total > MAX_BYTES:
        raise ExternalDataError(
            f"its external data has {total / 1e9:.1f} GB in all; at most 2 GB load.",
            where=str(path),
        )
    for tensor, (file, start, length) in zip(tensors, parts, strict=True):
        try:
            with file.open("rb") as stream:
                stream.seek(start)
                tensor.raw_data = stream.read(length)
        except OSError as error:
            raise ExternalDataError(
                f"is external data that cannot be read ({error.strerror}).",
                where=str(file),
                hint="Check its permissions.",
            ) from error
        tensor.ClearField("data_location")
        del tensor.external_data[:]


def _external(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    return [t for t in all_tensors(model) if uses_external_data(t)]


def _entries(tensor: onnx.TensorProto) -> dict[str, str]:
    return {e.key: e.value for e in tensor.external_data}


def _part(tensor: onnx.TensorProto, path: Path) -> tuple[Path, int, int]:
    """Return the file, offset and length of a tensor's data, all of it inside the file."""
    entries = _entries(tensor)
    name = shown(tensor.name)
    file = _inside(path, entries.get("location", ""))
    size = file.stat().st_size
    try:
        start = int(entries.get("offset", 0))
        length = int(entries.get("length", size - start))
    except ValueError as error:
        raise ExternalDataError(
            f"tensor {name} has an offset or length that is no number.", where=str(path)
        ) from error
    if start < 0 or length < 0 or start + length > size:
        raise ExternalDataError(
            f"tensor {name} wants bytes {start} to {start + length}; the file has {size}.",
            where=str(file),
            hint="The file was probably cut short: download or copy it again.",
        )
    return file, start, length


def _inside(path: Path, location: str) -> Path:
    """Resolve external data; it may not leave the model's folder, not even by a link."""
    folder = path.resolve().parent
    try:
        file = (folder / location).resolve()
        found = file.is_file()
    except (OSError, ValueError, RuntimeError) as error:
        raise ExternalDataError(
            f"its external data {shown(location)} is no file name.", where=str(path)
        ) from error
    if Path(location).is_absolute() or ".." in Path(location).parts or folder not in file.parents:
        raise ExternalDataError(
            f"its external data {shown(location)} lies outside its folder; that is refused.",
            where=str(path),
        )
    if not found:
        raise ExternalDataError(
            f"its external data {shown(location)} is missing.",
            where=str(path),
            hint="Copy it beside the model.",
        )
    if file.stat().st_size > MAX_BYTES:
        raise ExternalDataError(
            f"is external data of {file.stat().st_size / 1e9:.1f} GB; at most 2 GB load.",
            where=str(file),
        )
    return file
