"""A whole picture into what a model sees of it: its centre, or a random part."""

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

from kindling.images.decoding import (
    MOST_TIMES_AS_LONG,
    OF_WHOLE_PICTURES,
    Decoding,
    Interpolation,
    centre_box,
    middle_box,
    resized_size,
)


@dataclass(frozen=True)
class Cut:
    """A picture (H, W, C) uint8 of any size -> (size, size, C) uint8, which may be a view of it.

    Without `random` as `Decoding.image` does it, at most one grey level off, as torch rounds otherwise than Pillow.

    Args:
        size: height and width in pixels.
        resize: the shorter side, before the centre is cut.
        interpolation: of the resizing, always with antialias.
        random: draws a part, which is resized to `size`, from torch's generator.
    """

    size: int
    resize: int
    interpolation: Interpolation
    random: v2.RandomResizedCrop | None = None

    def __call__(self, picture: Tensor) -> Tensor:
        if self.random:
            drawn = self.random.make_params([picture.permute(2, 0, 1)])
            left, top = drawn["left"], drawn["top"]
            part = boxed(picture, (left, top, left + drawn["width"], top + drawn["height"]))
            return resized(part, (self.size, self.size), self.interpolation)
        height, width = picture.shape[:2]
        # So a stored picture is.
        if not self.resize == min(height, width) >= max(height, width) / MOST_TIMES_AS_LONG:
            picture = with_shorter_side(picture, self.resize, self.interpolation)
            height, width = picture.shape[:2]
        return boxed(picture, centre_box(width, height, self.size))


def by_torch(decoding: Decoding) -> Decoding:
    """The same, with pictures resized as training and evaluation do it."""
    if decoding.version < OF_WHOLE_PICTURES:
        return decoding
    cut = evaluation_cut(decoding)

    def centre(picture: np.ndarray) -> np.ndarray:
        return cut(torch.from_numpy(picture)).contiguous().numpy()

    return replace(decoding, centre=centre)


def evaluation_cut(decoding: Decoding) -> Cut:
    return Cut(decoding.image_size, decoding.resize or decoding.image_size, decoding.interpolation)


def with_shorter_side(picture: Tensor, shorter: int, interpolation: Interpolation) -> Tensor:
    """A picture (H, W, C) uint8 with so many pixels on its shorter side; of one that is too long, its middle."""
    picture = boxed(picture, middle_box(picture.shape[1], picture.shape[0]))
    return resized(picture, resized_size(picture.shape[1], picture.shape[0], shorter), interpolation)


def boxed(picture: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    """What is between left, top, right and bottom."""
    left, top, right, bottom = box
    return picture[top:bottom, left:right]


def resized(picture: Tensor, size: tuple[int, int], interpolation: Interpolation) -> Tensor:
    """(H, W, C) uint8 -> (height, width, C) uint8.

    Args:
        size: width and height.
    """
    width, height = size
    if picture.shape[:2] == (height, width):
        return picture
    # So ordered, the channels are last also for torch, which is quicker.
    images = picture.contiguous()[None].permute(0, 3, 1, 2)
    made = F.interpolate(images, (height, width), mode=interpolation, antialias=True)
    return made.permute(0, 2, 3, 1)[0].contiguous()
