"""Data for three models that other people made, so that Sprat is judged on more than its own.

The models lie inside wheels, and no other part of the wheels is used::

    pip install --no-deps --target MODELS rapidocr-onnxruntime magika
    python -m benchmarks.third_party OUT --site MODELS

| model | wheel, licence | data that is made here |
|---|---|---|
| PP-OCR text direction | rapidocr-onnxruntime, Apache-2.0 | lines of text, ``0`` or ``180`` |
| PP-OCRv4 text | rapidocr-onnxruntime, Apache-2.0 | lines of text |
| Magika file types | magika, Apache-2.0 | bytes of files that lie on any machine |

Each ``make_…`` is deterministic on one machine: the text depends on the fonts installed, the file
types on the files there.
"""

from benchmarks.third_party.file_types import make_magika
from benchmarks.third_party.models import find_model
from benchmarks.third_party.text_lines import make_direction, make_recognizer

__all__ = ["find_model", "make_direction", "make_magika", "make_recognizer"]
