"""What training needs of the LightningModule that it trains."""

from typing import Any

from lightning.pytorch import LightningModule
from torch import nn


class Task(LightningModule):
    """The base of the LightningModules that are trained here."""

    net: nn.Module
    config: dict[str, Any]  # of the run, as plain values
    lr_factor: float  # of all rates, once training starts
    rollbacks: list[list[int]]  # [epoch, batch] of the batches that gave NaN
    skips_batches: bool  # those
