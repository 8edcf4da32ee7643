"""Loss and accuracy of an epoch, summed on the device."""

import torch
from torch import Tensor

from kindling.images.images import NO_LABEL

# What each stage logs, and which value is better.
MODES = {"loss": "min", "accuracy": "max"}


class Totals:
    """Sums of loss, hits and images of one stage; no step waits for the device."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.sums: Tensor | None = None  # (3,): loss, hits, images

    def restore(self, sums: list[float] | None, device: torch.device) -> None:
        """Go on from these sums; None: from none."""
        self.reset()
        if sums is not None:
            self.sums = torch.tensor(sums, dtype=_sum_dtype(device), device=device)
            # Views made once, since indexing costs each step.
            self._loss, self._hits, self._images = self.sums[0], self.sums[1], self.sums[2]

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor, *, padded: bool = False) -> None:
        """Add a batch: its mean loss (), logits (B, K) and labels (B,); if padded, NO_LABEL does not count.

        Of shares of classes (B, K) the largest is the label.
        """
        labels = labels.argmax(1) if labels.ndim == 2 else labels
        if self.sums is None:
            self.restore([0, 0, 0], logits.device)
        if padded:
            num_images = (labels != NO_LABEL).sum()
            self._loss.add_(torch.where(num_images > 0, loss.detach() * num_images, 0))
        else:
            num_images = len(labels)
            self._loss.add_(loss.detach(), alpha=num_images)
        self._hits.add_((logits.argmax(1) == labels).sum())
        self._images.add_(num_images)


def _sum_dtype(device: torch.device) -> torch.dtype:
    # Apple's GPUs have no float64.
    return torch.float32 if device.type == "mps" else torch.float64
