"""Squares in one of four corners, made up, to start from: put your own images in the place of `draw`."""

from typing import Any

import torch
from torch import Tensor

from kindling.data.splits import hold_out
from kindling.images.datamodule import ImageDataModule, Splits
from kindling.images.images import ImageTensors
from kindling.ranges import Fraction

CLASSES = ("upper left", "upper right", "lower left", "lower right")
NUM_IMAGES = 2000


class Starter(ImageDataModule):
    """Validation and test are cut from all images, of each class alike; an official test split is better.

    Args:
        val_fraction: share of each class that validates, of what test leaves.
        test_fraction: share of each class that tests.
    """

    def __init__(self, *, val_fraction: Fraction, test_fraction: Fraction, **settings: Any):
        super().__init__(**settings)
        self.val_fraction, self.test_fraction = val_fraction, test_fraction

    def read(self) -> Splits:
        everything = ImageTensors(*draw(self.image_size, self.channels))
        rest, test = hold_out(everything.labels, self.test_fraction)
        train, val = hold_out(everything.labels[rest], self.val_fraction)
        return Splits(
            train=everything.take(rest[train]),
            val=everything.take(rest[val]),
            test=everything.take(test),
            classes=CLASSES,
        )


def draw(size: int, channels: int) -> tuple[Tensor, Tensor]:
    """Images (N, H, W, C) uint8 and labels (N,) int64, the same at each call."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 128, (NUM_IMAGES, size, size, channels), generator=generator, dtype=torch.uint8)
    labels = torch.arange(NUM_IMAGES) % len(CLASSES)
    half = size // 2
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = divmod(label, 2)
        image[row * half : (row + 1) * half, column * half : (column + 1) * half] += 127
    return images, labels
