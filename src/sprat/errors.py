"""Every error that Sprat raises on purpose.

::

    SpratError                      catch this one
    ├── InputError                  something that was given is wrong           (exit code 2)
    │   ├── OptionError             an option, or sprat.toml
    │   ├── ModelError              the model file
    │   │   ├── ModelNotFoundError  no such file
    │   │   ├── ModelFormatError    not ONNX: truncated, HTML, a checkpoint of another kind
    │   │   ├── ExternalDataError   external data is missing, too short, or leaves the folder
    │   │   └── UnsupportedModelError  valid ONNX that the runtime here cannot load or run
    │   │       ├── EndlessModelError     ... whose run does not end in time
    │   │       ├── CostlyModelError      ... that takes more time or memory to open than allowed
    │   │       └── LeanUnsupportedError  ... that the lean runtime has no steps for
    │   ├── DataError               the samples
    │   │   ├── DataNotFoundError   no such folder or file, or nothing in it
    │   │   ├── SampleError         one sample cannot be read: an image that is no image
    │   │   └── ShapeMismatchError  the samples do not fit the model's input
    │   ├── BrowserMissingError     there is no browser
    │   └── PackageMissingError     a package that only some commands need is not installed
    │       └── WebPackagesMissingError  ... so no browser either: also a BrowserMissingError
    ├── BrowserError                the browser crashed, hung or does not start (exit code 3)
    │   └── ThrottleError           its network is not as fast as it was told to be
    ├── NativeCrashError            native code died on what it was given (exit code 3)
    ├── LeanMismatchError           the lean runtime answers otherwise than native   (exit code 1)
    ├── ExportError                 an export is not what was asked for             (exit code 1)
    ├── TrainingError               a training that leads nowhere                   (exit code 1)
    ├── FaultyResultError           a model that Sprat made is no valid one         (exit code 1)
    ├── NoGainError                 the method changed nothing, or to the worse     (exit code 1)
    │   └── ConstantAnswerError     ... or left a model that answers the same to every sample
    └── OutputError                 the result cannot be written                (exit code 2)

Each error carries three fields: ``what`` happened, ``where`` (a file, a node, an option) and
``hint``, what to do about it. ``str(error)`` joins them in that order. Each part is at most 400
printable characters, whatever a stranger's file is called or says.
"""

from __future__ import annotations

#: Characters of each part of an error: a stranger's names and a library's words have no end.
_LONGEST = 400


def _clear(text: str) -> str:
    """Return a text of bounded length without characters that could move a cursor."""
    shown = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return "".join(c if c.isprintable() else "?" for c in shown)


class SpratError(Exception):
    """Base class of all errors that Sprat raises on purpose.

    Args:
        what: One sentence that says what is wrong, with what was got and what was wanted.
        where: The file, node, sample or option that it is about. Empty if there is none.
        hint: What the user can do about it. Empty if nothing can be done.

    Attributes:
        exit_code: The exit code of the command line for this error.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what = _clear(what)
        self.where = _clear(where)
        self.hint = _clear(hint)
        super().__init__(self.what, self.where, self.hint)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f" {self.hint}" if self.hint else ""
        return f"{place}{self.what}{advice}"


class InputError(SpratError):
    """Something that was given to Sprat is wrong."""

    exit_code = 2


class OptionError(InputError):
    """An option, or a value in ``sprat.toml``, is wrong."""


class ModelError(InputError):
    """The model file is missing, damaged, or cannot be used."""


class ModelNotFoundError(ModelError):
    """There is no such model file."""


class ModelFormatError(ModelError):
    """The file is not an ONNX model."""


class ExternalDataError(ModelError):
    """The model's external data is missing, too short, or outside the model's folder."""


class UnsupportedModelError(ModelError):
    """The model is ONNX, but the runtime here cannot load or run it."""


class EndlessModelError(UnsupportedModelError):
    """A run of the model does not end in time: a loop without end, or a giant."""


class CostlyModelError(UnsupportedModelError):
    """Loading, cleaning or opening the model takes more time or memory than it may."""


class LeanUnsupportedError(UnsupportedModelError):
    """The lean runtime has no steps for a node: operator and attribute are named."""


class DataError(InputError):
    """The samples are missing, unreadable, or do not fit."""


class DataNotFoundError(DataError):
    """There is no such data, or nothing in it."""


class SampleError(DataError):
    """One sample cannot be read."""


class ShapeMismatchError(DataError):
    """The samples do not fit the model's input."""


class BrowserMissingError(InputError):
    """There is no browser to prove a model in."""


class PackageMissingError(InputError):
    """A package that only some commands need is not installed."""


class WebPackagesMissingError(BrowserMissingError, PackageMissingError):
    """No page can be served and no browser driven: the extra ``web`` is not installed.

    What goes on without a browser goes on without these packages, too.
    """


class BrowserError(SpratError):
    """The browser crashed, hung or does not start: nothing was proved or disproved."""

    exit_code = 3


class PageLateError(BrowserError):
    """A page gave no answer in time."""


class ThrottleError(BrowserError):
    """The browser's network is not as fast as it was told to be: no time on it can be trusted."""


class NativeCrashError(SpratError):
    """Native code died on what it was given, or memory ran out; the command line contains it."""

    exit_code = 3


class LeanMismatchError(SpratError):
    """A plan that the lean runtime answers otherwise than native ONNX Runtime: it is not kept."""


class ExportError(SpratError):
    """An export of another opset than asked for, or one that answers otherwise than torch."""


class TrainingError(SpratError):
    """A training that leads nowhere: its loss is no number any more."""


class FaultyResultError(SpratError):
    """A model that Sprat made is refused by onnx's checker or ONNX Runtime: it is not written."""


class NoGainError(SpratError):
    """The method changed nothing, made the file larger, or made a model that answers NaN."""


class ConstantAnswerError(NoGainError):
    """The result is no nearer to the original than a model that gives every sample one answer."""


class OutputError(SpratError):
    """The result cannot be written."""

    exit_code = 2
