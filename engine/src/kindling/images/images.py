"""A split of labelled images: held in memory as one tensor, or decoded from files one by one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kindling.data.contents import Contents, of_files, of_tensors
from kindling.data.examples import Examples
from kindling.errors import DataError
from kindling.images.paths import Paths, as_paths

# Torch's losses ignore this index by default.
NO_LABEL = -100
HALF_IN_MEMORY = "data.cache: given auto, which holds one split in memory and one not; allowed: memory or none"


@dataclass(frozen=True)
class ImageTensors(Examples):
    """Images in memory.

    Shapes: images (N, H, W, C) uint8, labels (N,) int64; `paths` of the files that they were, if they were.
    """

    images: Tensor
    labels: Tensor
    paths: Sequence[Path] | None = None

    def __post_init__(self) -> None:
        if self.images.is_floating_point() and not torch.isfinite(self.images).all():
            raise DataError("images: given pixels that are NaN or infinite; allowed: uint8; mend the source")
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise DataError(
                f"images: given {self.images.dtype} of shape {tuple(self.images.shape)}; "
                "allowed: uint8 of shape (N, H, W, C); convert them in read()"
            )
        if len(self.images) != len(self.labels):
            raise DataError(f"images: given {len(self.images)} images and {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Tensor:  # (H, W, C)
        return self.images[index]

    def take(self, indices: Tensor) -> "ImageTensors":
        return ImageTensors(
            self.images[indices], self.labels[indices], self.paths and as_paths(self.paths).take(indices)
        )

    def contents(self) -> Contents:
        """Of the files if there are any, else of the pixels."""
        if self.paths is not None:
            return Contents("files", of_files(self.paths))
        return Contents("tensors", of_tensors([self.images], len(self)))

    def join(self, other: "Images") -> "ImageTensors":
        """The images of both.

        Raises:
            DataError: the others do not lie in memory.
        """
        if not isinstance(other, ImageTensors):
            raise DataError(HALF_IN_MEMORY)
        paths = joined(self.paths, other.paths) if self.paths is not None and other.paths is not None else None
        return ImageTensors(torch.cat([self.images, other.images]), torch.cat([self.labels, other.labels]), paths)


@dataclass(frozen=True)
class ImageFiles(Examples):
    """Images on disk, decoded when asked for.

    `decode` maps a path to an (H, W, C) uint8 tensor, of one shape for all; its `whole`, if it has one, to all of the
    picture. Labels (N,) int64.
    """

    paths: Sequence[Path]
    labels: Tensor
    decode: Callable[[Path], Tensor]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:  # (H, W, C)
        return self.decode(self.paths[index])

    def picture(self, index: int) -> Tensor:
        """(H, W, C) uint8 of any size."""
        decoder: Any = self.decode
        return decoder.whole(self.paths[index])

    def take(self, indices: Tensor) -> "ImageFiles":
        return ImageFiles(as_paths(self.paths).take(indices), self.labels[indices], self.decode)

    def contents(self) -> Contents:
        return Contents("files", of_files(self.paths))

    def join(self, other: "Images") -> "ImageFiles":
        """The images of both.

        Raises:
            DataError: the others lie in memory.
        """
        if not isinstance(other, ImageFiles):
            raise DataError(HALF_IN_MEMORY)
        labels = torch.cat([self.labels, other.labels])
        return ImageFiles(joined(self.paths, other.paths), labels, self.decode)


Images = ImageTensors | ImageFiles


def joined(first: Sequence[Path], second: Sequence[Path]) -> Paths:
    return as_paths(first).join(as_paths(second))


def num_by_class(labels: Tensor, num_classes: int) -> Tensor:
    """How many examples there are of each class: (K,), of labels (N,), or (N, K) bool."""
    return labels.sum(0) if labels.ndim > 1 else labels.bincount(minlength=num_classes)


def renumbered(labels: Tensor, numbers: Tensor, num_classes: int) -> Tensor:
    """Labels (N,), or (N, K) bool, by other numbers (K,) of the classes; one that is NO_LABEL has no example."""
    if labels.ndim == 1:
        return numbers[labels]
    kept = numbers != NO_LABEL
    found = labels.new_zeros(len(labels), num_classes)
    found[:, numbers[kept]] = labels[:, kept]
    return found
