"""Test-time augmentation: an image's logits as the mean over several views of it."""

from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

# They cost 1, 2 and 6 forward passes.
Views = Literal["none", "flip", "flip_and_shift"]
VIEWS: tuple[str, ...] = get_args(Views)


def average_logits(net: nn.Module, images: Tensor, views: Views) -> Tensor:
    """Logits of the views: images (B, C, H, W) -> (B, K).

    "flip" adds the mirror image; "flip_and_shift" also both sides of the image moved by one pixel towards two
    opposite corners, all four of which count as much as the two unmoved ones.
    """
    if views == "none":
        return net(images)
    unmoved = _both_sides(net, images)
    if views == "flip":
        return unmoved
    padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
    moved = _both_sides(net, padded[:, :, :-2, :-2]) + _both_sides(net, padded[:, :, 2:, 2:])
    return 0.5 * unmoved + 0.25 * moved


def _both_sides(net: nn.Module, images: Tensor) -> Tensor:
    return 0.5 * (net(images) + net(images.flip(3)))
