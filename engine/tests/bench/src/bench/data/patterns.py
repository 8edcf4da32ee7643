"""A set of the project's own: stripes, a direction for each class, under noise."""

from typing import Any

import torch

from kindling.images.datamodule import ImageDataModule, Splits
from kindling.images.images import ImageTensors
from kindling.ranges import PositiveInt

NUM_CLASSES = 10
SIZE = 28


class Patterns(ImageDataModule):
    """Its number of classes and its size are what they are, whatever the config says, as with files."""

    def __init__(self, *, num_images: PositiveInt, **settings: Any):
        super().__init__(**settings)
        self.num_images = num_images

    def read(self) -> Splits:
        return Splits(
            train=self._draw(self.num_images, seed=0),
            val=self._draw(self.num_images // 4, seed=1),
            test=self._draw(self.num_images // 4, seed=2),
            classes=tuple(f"class {label}" for label in range(NUM_CLASSES)),
        )

    def _draw(self, num_images: int, seed: int) -> ImageTensors:
        labels = torch.arange(num_images) % NUM_CLASSES
        rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
        angles = (torch.pi * torch.arange(NUM_CLASSES) / NUM_CLASSES).view(-1, 1, 1)
        waves = torch.sin(rows * angles.cos() + columns * angles.sin())  # (K, H, W)
        shape = (num_images, SIZE, SIZE, self.channels)
        noise = torch.randint(0, 64, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
        return ImageTensors((96 + 80 * waves[labels].unsqueeze(-1)).to(torch.uint8) + noise, labels)
