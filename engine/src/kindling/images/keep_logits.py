"""What the evaluated steps return."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor


class KeepLogits(Callback):
    """Collects what the evaluated steps return: logits (N, K) and labels (N,), on the CPU."""

    def __init__(self) -> None:
        self._logits: list[Tensor] = []
        self._labels: list[Tensor] = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._logits.append(outputs.float().cpu())
        self._labels.append(batch[1].cpu())

    on_test_batch_end = on_validation_batch_end

    @property
    def logits(self) -> Tensor:
        return torch.cat(self._logits)

    @property
    def labels(self) -> Tensor:
        return torch.cat(self._labels)


def has_logits(outputs: Any, batch: Any) -> bool:
    """Whether a step returned logits (B, K) for a batch with labels (B,)."""
    if not isinstance(outputs, Tensor) or not isinstance(batch, list | tuple) or len(batch) < 2:
        return False
    labels: Any = batch[1]
    return outputs.ndim == 2 and isinstance(labels, Tensor) and labels.shape == outputs.shape[:1]
