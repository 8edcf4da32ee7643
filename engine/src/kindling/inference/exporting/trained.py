"""A trained model and its images: what is exported, and what the exported model is compared with."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from kindling.images.augment import Normalize
from kindling.images.datamodule import ImageDataModule
from kindling.images.images import Images
from kindling.images.loader import EpochLoader


@dataclass
class Trained:
    """What is exported, and what it is compared with.

    `net` is in evaluation mode, on the CPU; `compute` gives its logits (B, K) for what the exported model takes.
    """

    net: nn.Module
    data: ImageDataModule
    preprocessing: bool

    def __post_init__(self) -> None:
        assert self.data.mean, "checked with the splits"
        assert self.data.std
        self.normalize = Normalize(self.data.mean, self.data.std)

    @torch.inference_mode()
    def compute(self, images: np.ndarray) -> np.ndarray:
        given = torch.from_numpy(images)
        return self.net(self.normalize(given) if self.preprocessing else given).numpy()

    def batches(self, images: Images) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """What the exported model takes, and labels (B,)."""
        given = Unchanged([], []) if self.preprocessing else self.normalize
        size, workers = self.data.batch_size, self.data.num_workers
        for batch, labels in EpochLoader(images, batch_size=size, normalize=given, num_workers=workers):
            yield batch.contiguous().numpy(), labels.numpy()

    def in_pytorch(self) -> Callable[[np.ndarray], Tensor]:
        """What PyTorch does for the same: the net with channels last, as it was trained."""
        net = copy.deepcopy(self.net).to(memory_format=torch.channels_last)

        @torch.inference_mode()
        def run(images: np.ndarray) -> Tensor:
            given = torch.from_numpy(images)
            return net(self.normalize(given)).softmax(1) if self.preprocessing else net(given)

        return run


class Unchanged(Normalize):
    """Leaves pixels as they are."""

    def __call__(self, images: Tensor) -> Tensor:
        return images
