"""A split of labelled images: held in memory as one tensor, or decoded from files one by one."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kindling.errors import DataError

# Torch's losses ignore this index by default.
NO_LABEL = -100


@dataclass(frozen=True)
class ImageTensors:
    """Images in memory.

    Shapes: images (N, H, W, C) uint8, labels (N,) int64.
    """

    images: Tensor
    labels: Tensor

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
        return ImageTensors(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class ImageFiles:
    """Images on disk, decoded when asked for.

    `decode` maps a path to an (H, W, C) uint8 tensor, of one shape for all; labels (N,) int64.
    """

    paths: Sequence[Path]
    labels: Tensor
    decode: Callable[[Path], Tensor]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:  # (H, W, C)
        return self.decode(self.paths[index])

    def take(self, indices: Tensor) -> "ImageFiles":
        return ImageFiles([self.paths[index] for index in indices.tolist()], self.labels[indices], self.decode)


Images = ImageTensors | ImageFiles


def join(first: Images, second: Images) -> Images:
    """The images of both.

    Raises:
        DataError: one lies in memory and the other does not.
    """
    labels = torch.cat([first.labels, second.labels])
    if isinstance(first, ImageTensors) and isinstance(second, ImageTensors):
        return ImageTensors(torch.cat([first.images, second.images]), labels)
    if isinstance(first, ImageFiles) and isinstance(second, ImageFiles):
        return ImageFiles([*first.paths, *second.paths], labels, first.decode)
    raise DataError("data.in_memory: given auto, which holds one split in memory and one not; set true or false")


def file_states(paths: Sequence[Path]) -> list[tuple[Path, os.stat_result]]:
    """Size and times of each file.

    Raises:
        DataError: one is missing or out of reach.
    """
    try:
        return [(path, path.stat()) for path in paths]
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}); replace or remove it") from error
