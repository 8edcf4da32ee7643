"""Rows whose targets are a sum of their columns."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kindling.data.datamodule import DataModule

COLUMNS = ("width", "height", "depth")


class Table(DataModule):
    """Three numbers (3,) and their sum (), or whether it is above zero."""

    def __init__(self, *, labelled: bool, **settings: Any):
        super().__init__(**settings)
        self.labelled = labelled

    def read(self) -> dict[str, tuple[Tensor, Tensor]]:
        return {name: self._draw(seed) for seed, name in enumerate(("train", "val", "test"))}

    def _draw(self, seed: int) -> tuple[Tensor, Tensor]:
        rows = torch.randn(32, len(COLUMNS), generator=torch.Generator().manual_seed(seed))
        sums = rows.sum(1)
        return rows, (sums > 0).long() if self.labelled else sums

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"columns": list(COLUMNS), **({"classes": ["below", "above"]} if self.labelled else {})}
