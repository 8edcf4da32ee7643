"""A text of letters in turn."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kindling.data.datamodule import DataModule
from kindling.ranges import PositiveInt

VOCABULARY = "abcd\n"


class Letters(DataModule):
    """Ids (T,) and those that follow (T,)."""

    def __init__(self, *, block_size: PositiveInt, **settings: Any):
        super().__init__(**settings)
        self.block_size = block_size

    def read(self) -> dict[str, tuple[Tensor, Tensor]]:
        ids = torch.arange(24 + self.block_size + 1) % len(VOCABULARY)
        blocks = ids.unfold(0, self.block_size + 1, 1)
        return dict.fromkeys(("train", "val", "test"), (blocks[:, :-1].contiguous(), blocks[:, 1:].contiguous()))

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"vocabulary": VOCABULARY}
