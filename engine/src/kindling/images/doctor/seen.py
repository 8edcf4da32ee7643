"""What a run has shown of itself so far, which the rules look at."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from kindling.images.images import ImageFiles, Images, ImageTensors
from kindling.stages import STAGES
from kindling.training.divergence import is_shared_out
from kindling.training.net import net_of

# Images that are looked at, at some milliseconds each from disk.
DECODED_SAMPLE = 32
# Hashing more files would take seconds.
MOST_FILES = 5000
# Grey levels of 255 by which a pixel differs from image to image.
ALIKE = 1.0


@dataclass
class Seen:
    """A rule is asked at the moment that fills the fields which it reads.

    Args:
        trainer: of the run.
        task: its LightningModule, of any kind.
        data: its data module, set up; None if the module brings its own loaders.
        logits: (B, K) of the first batch of training.
        made_by: torch's name for the operation that made them.
        without_gradient: parameters that none has reached, or zeros alone, in any of the first optimizer steps.
        validated: digests of the first batch of a validation, and of the one before.
        trained: digests of the first batch of an epoch, and of the one before.
        predicted: (K,) how many processes have predicted the class in a validation.
        train_loss: mean over an epoch, in this process.
        loading: share of an epoch that it has waited for batches.
    """

    trainer: Trainer
    task: LightningModule
    data: Any
    logits: Tensor | None = None
    made_by: str = ""
    without_gradient: set[str] | None = None
    validated: tuple[str, str] | None = None
    trained: tuple[str, str] | None = None
    predicted: Tensor | None = None
    train_loss: float | None = None
    loading: float | None = None

    @cached_property
    def few(self) -> Tensor:
        """Some of the training images, evenly apart: (N, H, W, C) uint8."""
        images = self.data.splits.train
        step = max(1, len(images) // DECODED_SAMPLE)
        return torch.stack([images[index] for index in range(0, len(images), step)])

    @cached_property
    def is_alike(self) -> bool:
        """Whether the training images hardly differ."""
        pixels = self.few.flatten(1).float()
        return len(pixels) > 1 and pixels.std(0, correction=0).mean().item() < ALIKE

    @cached_property
    def hashes(self) -> dict[str, list[int | bytes]]:
        """Of the images of each split; empty where images that are alike say nothing, or that are too many."""
        splits = {name: getattr(self.data.splits, name) for name in STAGES}
        num_files = sum(len(images) for images in splits.values() if isinstance(images, ImageFiles))
        if self.is_alike or num_files > MOST_FILES:
            return {}
        return {name: image_hashes(images) for name, images in splits.items()}

    def parameters(self) -> dict[str, Tensor]:
        """Those that are trained now, by name."""
        return {name: each for name, each in net_of(self.task).named_parameters() if each.requires_grad}

    def note_gradients(self) -> None:
        """Strike out the parameters that the gradient of this step reaches; waits once for the device."""
        named = self.parameters()
        reached = [(name, each.grad) for name, each in named.items() if each.grad is not None]
        # A batch that was left out has no gradient; a process may hold no part of one.
        if reached and not is_shared_out(reached[0][1]):
            device = reached[0][1].device
            any_number = torch.stack([has_numbers(grad).to(device) for _, grad in reached]).tolist()
            names = {name for (name, _), found in zip(reached, any_number, strict=True) if found}
            left = set(named) if self.without_gradient is None else self.without_gradient
            self.without_gradient = left - names


def image_hashes(images: Images) -> list[int | bytes]:
    """A hash of each image's pixels, or of its file."""
    if isinstance(images, ImageTensors):
        return [hash(pixels.tobytes()) for pixels in images.images.flatten(1).numpy()]
    return [hashlib.blake2b(path.read_bytes(), digest_size=16).digest() for path in images.paths]


def has_numbers(gradient: Tensor) -> Tensor:
    """Whether () it is more than zeros; of an embedding it may be sparse."""
    return (gradient.coalesce().values() if gradient.is_sparse else gradient).any()


Rule = Callable[[Seen], Iterator[str]]
