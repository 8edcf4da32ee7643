"""Per-image augmentation of a whole batch at once."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

NUM_DRAWS = 9  # uniform numbers that each image's augmentation is made from
FLIP_DRAW = 2  # which of them decides on the flip


class Augment:
    """Random crop, flip, rotation and erasing, drawn for each image of its own.

    A pure function of the images and of uniform numbers that the loader draws by position. Shift and flip
    are one gather and equal torchvision's `RandomCrop(padding=...)` and `RandomHorizontalFlip` to the bit.

    Args:
        crop_padding: pixels added on each side before an image-sized crop.
        padding_mode: "constant" adds black, "reflect" mirrors the image without its edge; as torchvision's.
        horizontal_flip: probability of a flip.
        alternating_flip: flips an image at random in the first epoch, and shows its other side in each
            following one (arXiv 2404.00498); the loader draws it so.
        rotation: largest angle, in degrees, either way.
        random_erasing: probability that a rectangle of 2 to 33 % of the area turns grey (arXiv 1708.04896).
    """

    def __init__(
        self,
        crop_padding: int,
        padding_mode: Literal["constant", "reflect"],
        horizontal_flip: float,
        alternating_flip: bool,
        rotation: float,
        random_erasing: float,
    ):
        self.crop_padding = crop_padding
        self.padding_mode = padding_mode
        self.horizontal_flip = horizontal_flip
        self.alternating_flip = alternating_flip
        self.rotation = rotation
        self.random_erasing = random_erasing

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """Images (B, H, W, C) uint8 and draws (B, NUM_DRAWS) in [0, 1) -> (B, H, W, C) uint8."""
        if self.crop_padding or self.horizontal_flip:
            images = self._crop_and_flip(images, draws[:, 0], draws[:, 1], draws[:, FLIP_DRAW])
        if self.rotation:
            images = self._rotate(images, draws[:, 3])
        if self.random_erasing:
            images = self._erase(images, *draws[:, 4:].unbind(1))
        return images

    def _crop_and_flip(self, images: Tensor, top: Tensor, left: Tensor, flip: Tensor) -> Tensor:
        batch, height, width, channels = images.shape
        padding = self.crop_padding
        rows = torch.arange(height, device=images.device) + (top * (2 * padding + 1)).long()[:, None]
        columns = torch.arange(width, device=images.device).expand(batch, width)
        columns = torch.where(flip[:, None] < self.horizontal_flip, width - 1 - columns, columns)
        columns = columns + (left * (2 * padding + 1)).long()[:, None]
        if self.padding_mode == "reflect":
            padded, rows, columns = images, reflect(rows - padding, height), reflect(columns - padding, width)
        else:
            padded = F.pad(images, (0, 0, padding, padding, padding, padding))
        pixels = (rows * padded.shape[2])[:, :, None] + columns[:, None, :]  # (B, H, W), into one padded image
        pixels = pixels + torch.arange(batch, device=images.device)[:, None, None] * padded[0, ..., 0].numel()
        return padded.reshape(-1, channels)[pixels.flatten()].view(batch, height, width, channels)

    def _rotate(self, images: Tensor, turn: Tensor) -> Tensor:
        angle = torch.deg2rad((2 * turn - 1) * self.rotation)
        cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
        matrix = torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).view(-1, 2, 3)
        pixels = images.permute(0, 3, 1, 2).float()
        grid = F.affine_grid(matrix, list(pixels.shape), align_corners=False)
        rotated = F.grid_sample(pixels, grid, align_corners=False)
        return rotated.round_().to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    def _erase(self, images: Tensor, chance: Tensor, area: Tensor, ratio: Tensor, y: Tensor, x: Tensor) -> Tensor:
        _, height, width, _ = images.shape
        share = 0.02 + area * (0.33 - 0.02)
        aspect = torch.exp((2 * ratio - 1) * torch.log(torch.tensor(3.3)))  # height to width, 1/3.3 to 3.3
        tall = (share * height * width * aspect).sqrt().clamp(1, height).round()
        wide = (share * height * width / aspect).sqrt().clamp(1, width).round()
        top, left = (y * (height - tall + 1)).floor(), (x * (width - wide + 1)).floor()
        rows = torch.arange(height, device=images.device)[None, :]
        columns = torch.arange(width, device=images.device)[None, :]
        in_rows = (rows >= top[:, None]) & (rows < (top + tall)[:, None])
        in_columns = (columns >= left[:, None]) & (columns < (left + wide)[:, None])
        erased = in_rows[:, :, None] & in_columns[:, None, :] & (chance < self.random_erasing)[:, None, None]
        return images.masked_fill(erased[..., None], 127)


def reflect(indices: Tensor, size: int) -> Tensor:
    """Indices from 1 - size to 2 * size - 2, mirrored at the first and at the last pixel into 0 to size - 1."""
    return (size - 1) - ((size - 1) - indices.abs()).abs()


class Normalize:
    """Images (B, H, W, C) uint8 -> (B, C, H, W) float32, channels last in memory, by statistics in [0, 1]."""

    def __init__(self, mean: list[float], std: list[float]):
        self.mean = torch.tensor(mean).view(1, -1, 1, 1) * 255
        self.std = torch.tensor(std).view(1, -1, 1, 1) * 255

    def to(self, device: torch.device) -> "Normalize":
        self.mean, self.std = self.mean.to(device), self.std.to(device)
        return self

    def __call__(self, images: Tensor) -> Tensor:
        return images.permute(0, 3, 1, 2).to(torch.float32).sub_(self.mean).div_(self.std)
