"""What a mutant is given to, and what counts as a good end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx

from fuzz.mutate import mutant
from fuzz.seeds import external_data, seeds
from sprat.errors import SpratError
from sprat.graph.simplify import simplify
from sprat.model.inspect import inspect, tensor_infos
from sprat.model.load import load
from sprat.workflow.foresee import foresee

#: Characters of an error; longer ones are no clear message.
_LONGEST = 1300
_SAMPLES = 12


def _inspect(model: Path, _data: Path) -> None:
    inspect(model)


def _simplify(model: Path, _data: Path) -> None:
    simplify(load(model))


def _optimize(model: Path, data: Path) -> None:
    foresee(model, data)


#: The commands ``inspect``, ``simplify`` and ``optimize --dry-run``, cheapest first.
TARGETS: dict[str, Callable[[Path, Path], None]] = {
    "inspect": _inspect,
    "simplify": _simplify,
    "optimize": _optimize,
}


class Range:
    """A folder in which mutants are tried, with all that their external data may point to.

    Args:
        folder: Empty.
        seed: Seed of the campaign.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._seed = seed
        self._bases = seeds()
        self.model = folder / "in" / "model.onnx"
        self.model.parent.mkdir()
        (folder / "secret.bin").write_bytes(bytes(100_000))
        (self.model.parent / "link.bin").symlink_to(folder / "secret.bin")
        (self.model.parent / "model.onnx.data").write_bytes(external_data())
        self._data = [_samples(base, folder / f"{i}.npz") for i, base in enumerate(self._bases)]

    def place(self, index: int) -> Path:
        """Write a mutant, and return the data that fits what it was made from."""
        base, content = mutant(self._bases, self._seed, index)
        self.model.write_bytes(content)
        return self._data[base]

    def attempt(self, index: int, targets: Sequence[str]) -> dict[str, str]:
        """Give a mutant to targets.

        Args:
            index: Of the mutant.
            targets: Keys of :data:`TARGETS`.

        Returns:
            By target: ``result``, the name of the error of ours, or ``FAILED: …`` with the
            reason. A model that does not load does not get beyond the first.
        """
        data = self.place(index)
        found = {}
        for name in targets:
            found[name] = end_of(TARGETS[name], self.model, data)
            if found[name] != "result":
                break
        return found


def end_of(target: Callable[[Path, Path], None], model: Path, data: Path) -> str:
    """Give a model to a target; return ``result``, the error's name, or ``FAILED: …``."""
    try:
        target(model, data)
    except SpratError as error:
        text = str(error)
        if not text.isprintable() or len(text) > _LONGEST:
            return f"FAILED: an error of {len(text)} characters: {text[:200]!r}"
        return type(error).__name__
    except Exception as error:  # what the campaign looks for
        return f"FAILED: {type(error).__name__}: {str(error)[:200]}"
    return "result"


def _samples(base: bytes, path: Path) -> Path:
    infos = tensor_infos(onnx.load_from_string(base))
    random = np.random.default_rng(0)
    arrays = {}
    for info in infos:
        shape = (_SAMPLES, *(d for d in info.shape[1:] if isinstance(d, int)))
        arrays[info.name] = random.standard_normal(shape).astype(np.float32)
    np.savez(path, allow_pickle=False, **arrays)
    return path
