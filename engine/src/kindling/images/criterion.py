"""Cross-entropy with what makes it fit a set: smoothed labels, weights of classes, less weight for easy images."""

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kindling.errors import ConfigError
from kindling.images.images import NO_LABEL
from kindling.ranges import NotNegative, PositiveInt, Probability

# Least of 1 - p: a root of zero has no gradient.
NEVER_SURE = 1e-6


def comparable(criterion: nn.Module) -> nn.Module:
    """The criterion itself; a class of torch.nn that smooths or weighs is given a `plain` form and a `note` of it."""
    if type(criterion).__module__ == nn.CrossEntropyLoss.__module__:
        weighs = any(each is not None for each in criterion.buffers())
        criterion.note = _note({"smoothed": getattr(criterion, "label_smoothing", 0.0), "weighted": weighs})  # pyright: ignore[reportArgumentType]
        if criterion.note:
            criterion.plain = partial(_without_weights, criterion)  # pyright: ignore[reportArgumentType]
    return criterion


def _without_weights(criterion: nn.Module, outputs: Tensor, targets: Tensor) -> Tensor:
    plain = copy.copy(criterion)
    # Weights of classes are all that losses of torch.nn hold.
    plain._buffers = dict.fromkeys(criterion._buffers)
    if hasattr(plain, "label_smoothing"):
        plain.label_smoothing = 0.0  # pyright: ignore[reportArgumentType]
    return plain(outputs, targets)


def _note(names: dict[str, Any]) -> str | None:
    how = ", ".join(name for name, is_so in names.items() if is_so)
    return f"loss: train/loss is the {how} one, val/loss and test/loss are plain" if how else None


class CrossEntropy(nn.Module):
    """The mean loss of logits (B, K) and labels (B,), or of shares of classes (B, K) that sum to 1.

    Without focus and weights it is torch's cross_entropy. Weighted losses are divided by the number of images and not,
    as by torch, by their weights, so that the loss of a set does not depend on how it is put into batches.

    Args:
        num_classes: K.
        label_smoothing: share of each label that is given to all classes alike (arXiv 1512.00567).
        focal_gamma: an image that is given probability p counts (1 - p) ** gamma times (arXiv 1708.02002).
        class_weights: one for each class; "balanced": the inverse of how often it is in the training split, so that
            all classes count alike there and the mean weight of an image is 1.
        version: of what validation and tests log: 2, the plain cross-entropy; 1, what is minimised, as runs that
            began with it do.
    """

    def __init__(
        self,
        num_classes: PositiveInt,
        label_smoothing: Probability,
        focal_gamma: NotNegative,
        class_weights: Sequence[NotNegative] | Literal["balanced"] | None,
        version: Literal[1, 2] = 2,
    ):
        super().__init__()
        self.num_classes = num_classes
        self.label_smoothing = label_smoothing
        self.focal_gamma = focal_gamma
        self.version = version
        self.is_balanced = class_weights == "balanced"
        weight = torch.ones(num_classes) if self.is_balanced else class_weights
        if weight is not None and len(weight) != num_classes:
            raise ConfigError(
                f"criterion.class_weights: given {len(weight)} numbers; allowed: null, balanced, or {num_classes}, "
                "one for each class"
            )
        if weight is not None and not any(weight):
            raise ConfigError("criterion.class_weights: given zeros alone; allowed: a number above 0 for some class")
        self.weight: Tensor | None
        self.register_buffer("weight", None if weight is None else torch.as_tensor(weight, dtype=torch.float32))

    @property
    def note(self) -> str | None:
        """How the loss of training differs from those of validation and tests; None if it does not."""
        names = {"smoothed": self.label_smoothing, "focal": self.focal_gamma, "weighted": not self.is_even}
        return _note(names) if self.version > 1 else None

    @property
    def is_even(self) -> bool:
        return self.weight is None or bool((self.weight == 1).all())

    def balance(self, labels: Tensor) -> None:
        """Weigh classes by the training labels (N,), if they are to be balanced; one without images counts nothing."""
        if self.is_balanced and self.weight is not None:
            counts = labels.bincount(minlength=self.num_classes).float()
            self.weight.copy_(torch.where(counts > 0, len(labels) / (counts.count_nonzero() * counts), 0))

    def plain(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean cross-entropy of logits (B, K) and labels (B,), by which runs are compared: nothing else counts."""
        return self(logits, labels) if self.version == 1 else F.cross_entropy(logits, labels, ignore_index=NO_LABEL)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        if not self.focal_gamma and self.weight is None:
            return F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
        num_images = len(targets) if targets.ndim == 2 else (targets != NO_LABEL).sum().clamp_min(1)
        if not self.focal_gamma:
            settings = {"weight": self.weight, "label_smoothing": self.label_smoothing}
            return F.cross_entropy(logits, targets, reduction="sum", **settings) / num_images
        log_probabilities = logits.log_softmax(1)
        focus = (-torch.expm1(log_probabilities)).clamp_min(NEVER_SURE) ** self.focal_gamma
        weight = 1.0 if self.weight is None else self.weight
        shares, has_label = self._shares(targets)  # (B, K), (B, 1)
        smoothed = shares * (1 - self.label_smoothing) + has_label * self.label_smoothing / self.num_classes
        return -(smoothed * weight * focus * log_probabilities).sum() / num_images

    def _shares(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Shares of the classes (B, K), and whether an image has a label (B, 1)."""
        if targets.ndim == 2:
            return targets, torch.ones_like(targets[:, :1])
        has_label = (targets != NO_LABEL)[:, None]
        return F.one_hot(targets.clamp_min(0), self.num_classes) * has_label, has_label
