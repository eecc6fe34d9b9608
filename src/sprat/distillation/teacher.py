"""The teacher's answers: by ONNX Runtime, once for each sample, and kept by hash."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sprat.data.dataset import Dataset
from sprat.distillation.contract import Contract, Terms
from sprat.evaluate.predict import BATCH, predict_all
from sprat.files import sha256
from sprat.model.session import Feeds, open_session, predict
from sprat.progress import Progress, silent
from sprat.sealed import read_sealed, write_sealed

#: Answers are kept each time that so many are new: a kill loses at most these.
_PART = 128


class Teacher:
    """Answers samples, and views of them.

    Args:
        contract: The teacher and its input and output.
        size: Samples in one run, where its batch axis is fixed; else None.
        folder: Where answers are kept: one for each teacher and way of reading the samples.
    """

    def __init__(self, contract: Contract, size: int | None, folder: Path) -> None:
        self._contract = contract
        self._terms = Terms(contract)
        self._size = size or BATCH
        self._is_fixed = size is not None
        self._folder = folder
        self._session = None

    def answers(self, dataset: Dataset, progress: Progress = silent) -> Tensor:
        """Return the teacher's answers on a set; only samples that are new to it are run.

        Args:
            dataset: The samples.
            progress: Told how many are answered.

        Returns:
            In the terms of the loss, ``[N]``, ``[N, C]`` or ``[N, P, C]``.
        """
        known = self._read()
        digests = [sample.digest for sample in dataset.samples]
        new = [i for i, digest in enumerate(digests) if digest not in known]
        done = len(digests) - len(new)
        for start in range(0, len(new), _PART):
            rows = new[start : start + _PART]
            outputs = predict_all(self._contract.teacher, dataset.subset(rows), self._size)
            values = outputs[self._contract.output]
            self._keep([digests[i] for i in rows], values)
            known |= {digests[i]: value for i, value in zip(rows, values, strict=True)}
            done += len(rows)
            progress("asking the teacher", done, len(digests))
        return self._terms.of_teacher(np.stack([known[digest] for digest in digests]))

    def on_views(self, planes: Tensor) -> Tensor:
        """Answer augmented views.

        Args:
            planes: float32 ``[N, C, H, W]`` at the teacher's own size.

        Returns:
            As :meth:`answers`.
        """
        if self._session is None:
            self._session = open_session(self._contract.teacher)
        feeds = self._contract.feeds(planes)
        count = len(planes)
        rows = [np.arange(s, min(s + self._size, count)) for s in range(0, count, self._size)]
        found = predict(self._session, (self._taken(feeds, r) for r in rows))
        values = [out[self._contract.output][: len(r)] for r, out in zip(rows, found, strict=True)]
        return self._terms.of_teacher(np.concatenate(values))

    def _taken(self, feeds: Feeds, rows: NDArray[np.int64]) -> Feeds:
        if self._is_fixed:  # the last sample is repeated until the batch is full
            rows = np.pad(rows, (0, self._size - len(rows)), mode="edge")
        return {name: values[rows] for name, values in feeds.items()}

    def _read(self) -> dict[str, NDArray[Any]]:
        found: dict[str, NDArray[Any]] = {}
        for path in sorted(self._folder.glob("*.npz")):
            content = read_sealed(path)
            if content is None:  # damaged, or another's: asked for again
                continue
            with np.load(io.BytesIO(content), allow_pickle=False) as part:
                digests, values = part["digests"], part["values"]
                names = [digest.decode() for digest in digests.tolist()]
                found |= dict(zip(names, values, strict=True))
        return found

    def _keep(self, digests: list[str], values: NDArray[Any]) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, digests=np.array(digests, dtype="S"), values=values)
        name = sha256("\n".join(digests).encode())[:32]
        write_sealed(self._folder / f"{name}.npz", buffer.getvalue())
