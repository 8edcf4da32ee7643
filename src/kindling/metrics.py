"""Loss and accuracy of an epoch, summed on the device."""

import torch
from torch import Tensor

from kindling.data.images import NO_LABEL

MODES = {"loss": "min", "accuracy": "max"}  # what is logged of each stage, and which value is the better one


class Totals:
    """Sums of loss, hits and images of one stage; no step waits for the device."""

    def __init__(self) -> None:
        self.sums: Tensor | None = None  # (3,): loss, hits, images

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: its mean loss (), logits (B, K) and labels (B,), of which NO_LABEL does not count."""
        dtype = _sum_dtype(logits.device)
        num_images = (labels != NO_LABEL).sum().to(dtype)
        hits = (logits.argmax(1) == labels).sum().to(dtype)
        loss_sum = torch.where(num_images > 0, loss.detach() * num_images, 0)
        batch = torch.stack([loss_sum, hits, num_images])
        self.sums = batch if self.sums is None else self.sums.add_(batch)

    def reset(self) -> None:
        self.sums = None


def _sum_dtype(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64  # Apple's GPUs have no float64
