"""What training needs of the LightningModule that it trains."""

from typing import Any

from lightning.pytorch import LightningModule
from torch import nn


class Task(LightningModule):
    """The base of the LightningModules that are trained here."""

    net: nn.Module
    # The run's config, as plain values.
    config: dict[str, Any]
    # Factor on all learning rates, once training starts.
    lr_factor: float
    # [epoch, batch] of the batches that gave NaN.
    rollbacks: list[list[int]]
    # Whether those batches are left out.
    skips_batches: bool
