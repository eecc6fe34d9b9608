"""What is searched: for each figure of a configuration a range, or some values."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

from sprat.errors import OptionError
from sprat.files import sha256

Size = tuple[int, int]
#: Pixels below which a side is not proposed.
_LEAST_SIDE = 32
_AUGMENTS = ("auto", "none", "drawing", "photo")
#: Significant digits of what is drawn: enough, and short on a command line.
_DIGITS = 3


class Suggests(Protocol):
    """What draws: a trial of optuna."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        """Draw a number."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """Draw one of some values."""


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, drawn by their logarithm where ``log``."""

    low: float
    high: float
    log: bool = False

    def draw(self, trial: Suggests, name: str) -> float:
        """Draw a number."""
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def near(self, value: float) -> float:
        """Return what lies nearest to a value."""
        return min(max(value, self.low), self.high)

    def __str__(self) -> str:
        return f"{self.low:g}:{self.high:g}"


@dataclass(frozen=True)
class Values:
    """Some values: numbers or words."""

    values: tuple[float | str, ...]

    def draw(self, trial: Suggests, name: str) -> float | str:
        """Draw a value."""
        drawn: float | str = trial.suggest_categorical(name, self.values)
        return drawn

    def near(self, value: float | str) -> float | str:
        """Return a value if it is one of these, else the first."""
        return value if value in self.values else self.values[0]

    def __str__(self) -> str:
        return ",".join(v if isinstance(v, str) else f"{v:g}" for v in self.values)


Span = Range | Values


@dataclass(frozen=True)
class Draw:
    """One configuration.

    Attributes:
        width: Factor on the student's channels.
        size: Height and width that it looks at; None where the input is no picture.
        temperature: Of the soft loss.
        alpha: Share of the soft loss.
        rate: The highest learning rate.
        augment: How views are made.
        bits: Bits per weight of the rate-distortion quantization that follows.
    """

    width: float
    size: Size | None
    temperature: float
    alpha: float
    rate: float
    augment: str
    bits: float

    def seed(self, seed: int) -> int:
        """Return the seed of its training, 31 bits: of the study's seed and all its figures.

        A repetition after a kill has the same figures, and so trains the same student.
        """
        return int(sha256(repr((seed, asdict(self))).encode())[:8], 16) >> 1

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values, the size as ``64x64``."""
        return {**asdict(self), "size": None if self.size is None else as_text(self.size)}


@dataclass(frozen=True)
class Space:
    """What is searched, by the names of :class:`Draw`; sizes as ``64x64``, none as an empty word.

    Attributes:
        width: Factor on the student's channels.
        size: Height and width that it looks at.
        temperature: Of the soft loss.
        alpha: Share of the soft loss.
        rate: The highest learning rate.
        augment: How views are made.
        bits: Bits per weight.
    """

    width: Span
    size: Span
    temperature: Span
    alpha: Span
    rate: Span
    augment: Span
    bits: Span

    def draw(self, trial: Suggests) -> Draw:
        """Draw a configuration, its numbers to three digits."""
        found: dict[str, Any] = {
            f.name: _rounded(getattr(self, f.name).draw(trial, f.name)) for f in fields(self)
        }
        return Draw(**{**found, "size": sides(found["size"]) if found["size"] else None})

    def usual(self) -> dict[str, Any]:
        """Return the parameters of the first trial: what one would take without a search."""
        largest = self.size.values[0] if isinstance(self.size, Values) else ""
        wanted = (1.0, largest, 4.0, 0.9, 4e-3, "auto", 4.0)
        return {
            f.name: getattr(self, f.name).near(value)
            for f, value in zip(fields(self), wanted, strict=True)
        }

    def as_json(self) -> dict[str, str]:
        """Return the space as the options that would say it."""
        return {f.name: str(getattr(self, f.name)) for f in fields(self)}


def usual_space(
    size: Size | None, *, has_widths: bool, has_labels: bool, optimizer: str
) -> dict[str, Span]:
    """Return what is searched where nothing is said.

    Args:
        size: The teacher's height and width; None where its input is no picture.
        has_widths: The student comes in several widths.
        has_labels: There are labels; without, the soft loss is the whole.
        optimizer: ``adamw`` or ``sgd``.
    """
    smaller = [] if size is None else [(size[0] // k, size[1] // k) for k in (1, 2, 4)]
    sizes = [as_text(s) for s in smaller if min(s) >= _LEAST_SIDE or s == size]
    return {
        "width": Range(0.25, 1.0) if has_widths else Values((1.0,)),
        "size": Values(tuple(sizes) or ("",)),
        "temperature": Range(1.0, 8.0, log=True),
        "alpha": Range(0.5, 1.0) if has_labels else Values((1.0,)),
        "rate": Range(0.01, 0.3, log=True) if optimizer == "sgd" else Range(1e-3, 1e-2, log=True),
        "augment": Values(("auto", "none")) if size is not None else Values(("none",)),
        "bits": Range(2.0, 6.0, log=True),
    }


def narrowed(usual: dict[str, Span], given: dict[str, str]) -> Space:
    """Return a space with what was asked for in place of the usual.

    Args:
        usual: Of :func:`usual_space`.
        given: By name ``low:high``, ``a,b,c`` or one value.

    Raises:
        OptionError: Something asked for cannot be read, or is out of its range.
    """
    return Space(**{**usual, **{name: _READERS[name](text) for name, text in given.items()}})


def as_text(size: Size) -> str:
    """Return height and width as ``64x48``."""
    return f"{size[0]}x{size[1]}"


def sides(text: str) -> Size:
    """Read ``64x48``, or ``64`` for a square.

    Raises:
        OptionError: It is none.
    """
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.strip().isdigit() for part in parts):
        raise OptionError(
            f"must be HEIGHTxWIDTH such as 96x64, or one number for both, got {text!r}.",
            where="--student-size",
        )
    return int(parts[0]), int(parts[-1])


def _rounded(value: float | str) -> float | str:
    return value if isinstance(value, str) else float(f"{value:.{_DIGITS}g}")


def _numbers(flag: str, low: float, high: float, *, log: bool = False) -> Callable[[str], Span]:
    def read(text: str) -> Span:
        parts = text.split(":") if ":" in text else text.split(",")
        try:
            found = tuple(float(part) for part in parts)
        except ValueError:
            found = ()
        is_range = ":" in text
        if not found or (is_range and (len(found) != 2 or found[0] > found[1])):
            raise OptionError(
                f"must be LOW:HIGH, some values with commas, or one value; got {text!r}.",
                where=flag,
            )
        if not all(math.isfinite(value) and low <= value <= high for value in found):
            raise OptionError(f"must be {low:g} to {high:g}, got {text!r}.", where=flag)
        if is_range and found[0] < found[1]:
            return Range(found[0], found[1], log=log)
        return Values(tuple(dict.fromkeys(found)))

    return read


def _sizes(text: str) -> Span:
    return Values(tuple(dict.fromkeys(as_text(sides(part)) for part in text.split(","))))


def _augments(text: str) -> Span:
    words = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    wrong = next((w for w in words if w not in _AUGMENTS), None)
    if wrong is not None:
        raise OptionError(f"must be of {', '.join(_AUGMENTS)}, got {wrong!r}.", where="--augment")
    return Values(words)


_READERS: dict[str, Callable[[str], Span]] = {
    "width": _numbers("--width", 0.05, 8),
    "size": _sizes,
    "temperature": _numbers("--temperature", 0.1, 100, log=True),
    "alpha": _numbers("--alpha", 0, 1),
    "rate": _numbers("--rate", 1e-6, 10, log=True),
    "augment": _augments,
    "bits": _numbers("--bits-per-weight", 0.05, 8, log=True),
}
