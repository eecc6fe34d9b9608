"""Files that people take for ONNX models, known by their first bytes."""

from __future__ import annotations

_HTML = "an HTML page: the download saved a web page instead of the model"
_ERROR = "an error message of the server instead of the model"
_EXPORT = "export it to ONNX first"

#: First bytes without leading white space, and what such a file is.
_HEADS: tuple[tuple[bytes, str], ...] = (
    (b"<!doctype", _HTML),
    (b"<html", _HTML),
    (b"<head", _HTML),
    (b"<!--", _HTML),
    (b"<?xml", f"XML, perhaps {_ERROR}"),
    (b"{", f"JSON, perhaps {_ERROR}"),
    (b"version https://git-lfs", "a Git LFS pointer: run 'git lfs pull'"),
    (b"\x80\x02", f"a Python pickle, perhaps of PyTorch: {_EXPORT}"),
    (b"\x80\x03", f"a Python pickle: {_EXPORT}"),
    (b"\x80\x04", f"a Python pickle: {_EXPORT}"),
    (b"\x80\x05", f"a Python pickle: {_EXPORT}"),
    (b"\x1f\x8b", "gzip: unpack it with 'gzip -d' first"),
    (b"bzh", "bzip2: unpack it first"),
    (b"\xfd7zxz", "xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "zstd: unpack it with 'zstd -d' first"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it first"),
    (b"rar!", "a RAR archive: unpack it first"),
    (b"\x89hdf", f"HDF5, perhaps a Keras model: {_EXPORT}"),
    (b"\x93numpy", "a NumPy array"),
    (b"gguf", "GGUF, a format of language models"),
    (b"\x89png", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"%pdf", "a PDF"),
    (b"\x7felf", "a program"),
)
#: Bytes 4 to 8 of FlatBuffers files.
_FLATBUFFERS = {
    b"TFL3": "TensorFlow Lite: convert it with tf2onnx first",
    b"ORTM": "a model in ONNX Runtime's own .ort format: give the .onnx that it was made from",
}


def name_foreign(content: bytes) -> str:
    """Say what a file that is no ONNX model is instead.

    Args:
        content: The file, or its first 64 kB.

    Returns:
        A few words that go on "is not an ONNX model but …"; empty where it is not known.
    """
    if content.startswith(b"PK\x03\x04"):
        return _name_zip(content[: 1 << 16])
    flatbuffer = _FLATBUFFERS.get(content[4:8], "")
    if flatbuffer:
        return flatbuffer
    if content[8:9] == b"{" and int.from_bytes(content[:8], "little") < 1 << 32:
        return "safetensors: it holds weights without a graph"
    head = content[:64].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    known = next((name for magic, name in _HEADS if head.startswith(magic)), "")
    if not known and b"saved_model" in content[: 1 << 16]:
        return "a TensorFlow SavedModel: convert it with tf2onnx first"
    return known


def _name_zip(head: bytes) -> str:
    if b"data.pkl" in head or b"/version" in head:
        return f"a PyTorch checkpoint: {_EXPORT} (torch.onnx.export)"
    if b"model.json" in head or b"config.json" in head:
        return f"a Keras archive: {_EXPORT}"
    if b".npy" in head:
        return "a NumPy archive (.npz)"
    return "a zip archive: unpack it first"
