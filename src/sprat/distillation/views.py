"""The pictures as tensors, shrunk once and kept."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sprat.data.dataset import Dataset
from sprat.distillation.contract import Contract
from sprat.progress import Progress, silent

#: What the tensors of one set may take; a larger set is read again at each use.
KEPT_BYTES = 1 << 30
_BATCH = 128


class Views:
    """Samples as a network takes them.

    Args:
        dataset: The samples, as the teacher takes them.
        contract: The teacher's.
        intake: Applied to each batch; None leaves the teacher's planes.
        limit_bytes: What may be kept.
        progress: Told how many samples are read.

    Raises:
        SampleError: A sample cannot be read.
    """

    def __init__(
        self,
        dataset: Dataset,
        contract: Contract,
        intake: nn.Module | None,
        *,
        limit_bytes: int = KEPT_BYTES,
        progress: Progress = silent,
    ) -> None:
        self._dataset = dataset
        self._contract = contract
        self._intake = intake
        self._kept: Tensor | None = None
        count = len(dataset.samples)
        first = self._made([0])
        if count * first.nbytes <= limit_bytes:
            kept = torch.empty((count, *first.shape[1:]))
            for start in range(0, count, _BATCH):
                rows = range(start, min(start + _BATCH, count))
                kept[rows.start : rows.stop] = self._made(rows)
                progress("reading the samples", rows.stop, count)
            self._kept = kept

    def __len__(self) -> int:
        return len(self._dataset.samples)

    def __getitem__(self, rows: Sequence[int]) -> Tensor:
        """Return some of them: float32 ``[N, C, h, w]``, or as the input is where no picture."""
        return self._kept[list(rows)] if self._kept is not None else self._made(rows)

    def _made(self, rows: Sequence[int]) -> Tensor:
        planes = self._contract.planes(self._dataset.batch(rows))
        with torch.no_grad():
            found: Tensor = planes if self._intake is None else self._intake(planes)
        return found.contiguous()
