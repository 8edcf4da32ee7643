"""Random images that need no file; for tests and for trying out a model."""

import math
from typing import Any

import torch

from kindling.errors import ConfigError
from kindling.images.datamodule import ImageDataModule, Splits
from kindling.images.images import ImageTensors
from kindling.ranges import PositiveInt

# All of them are held; an image has a label, and a class a name, besides.
MOST_BYTES, BESIDES = 500_000_000, 64


class FakeImages(ImageDataModule):
    """Each class is a random pattern under random noise, the same for every seed of the run."""

    def __init__(self, *, num_images: PositiveInt, **settings: Any):
        super().__init__(**settings)
        self.num_images = num_images

    def read(self) -> Splits:
        generator = torch.Generator().manual_seed(0)
        shape = (self.image_size, self.image_size, self.channels)
        num_bytes = (self.num_images * 3 // 2 + self.num_classes) * (math.prod(shape) + BESIDES)
        if num_bytes > MOST_BYTES:
            raise ConfigError(f"data: given images of {num_bytes:,} bytes; allowed: {MOST_BYTES:,} for data=fake")
        patterns = torch.randint(0, 192, (self.num_classes, *shape), generator=generator, dtype=torch.uint8)

        def draw(num_images: int) -> ImageTensors:
            labels = torch.arange(num_images) % self.num_classes
            noise = torch.randint(0, 64, (num_images, *shape), generator=generator, dtype=torch.uint8)
            return ImageTensors(patterns[labels] + noise, labels)

        num_held_out = max(1, self.num_images // 4)
        return Splits(
            train=draw(self.num_images),
            val=draw(num_held_out),
            test=draw(num_held_out),
            classes=tuple(f"class {label}" for label in range(self.num_classes)),
        )
