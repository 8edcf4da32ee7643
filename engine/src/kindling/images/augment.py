"""Per-image augmentation of a whole batch at once."""

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor

from kindling.ranges import NotNegativeInt, Probability

# Uniform numbers drawn to augment one image.
NUM_DRAWS = 9
# Bytes of an image that is worth a call of its own.
LARGE = 2**14
# The draw that decides on the flip.
FLIP_DRAW = 2


class Augment:
    """Random crop, flip, rotation and erasing, drawn for each image of its own.

    A pure function of the images and of uniform numbers that the loader draws by position. Crop and flip
    are bit-identical to torchvision's `RandomCrop(padding=...)` and `RandomHorizontalFlip`.

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
        crop_padding: NotNegativeInt,
        padding_mode: Literal["constant", "reflect"],
        horizontal_flip: Probability,
        alternating_flip: bool,
        rotation: Annotated[float, Interval(ge=0, le=180)],
        random_erasing: Probability,
    ):
        self.crop_padding = crop_padding
        self.padding_mode = padding_mode
        self.horizontal_flip = horizontal_flip
        self.alternating_flip = alternating_flip
        self.rotation = rotation
        self.random_erasing = random_erasing

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """Images (B, H, W, C) uint8 and draws (B, NUM_DRAWS) in [0, 1) -> (B, H, W, C) uint8."""
        if self.crop_padding:
            images = self._crop(images, draws[:, 0], draws[:, 1])
        if self.horizontal_flip:
            images = mirrored(images, draws[:, FLIP_DRAW] < self.horizontal_flip)
        if self.rotation:
            images = self._rotate(images, draws[:, 3])
        if self.random_erasing:
            images = self._erase(images, *draws[:, 4:].unbind(1))
        return images

    def _crop(self, images: Tensor, top: Tensor, left: Tensor) -> Tensor:
        batch, height, width, channels = images.shape
        top, left = ((draws * (2 * self.crop_padding + 1)).long() for draws in (top, left))
        padded = pad(images, self.crop_padding, self.padding_mode)
        first_rows = torch.arange(batch, device=images.device) * padded.shape[1] + top
        rows = first_rows[:, None] + torch.arange(height, device=images.device)  # (B, H)
        first_bytes = (rows * padded.shape[2] + left[:, None]) * channels
        # Copying whole rows takes a twentieth of a gather.
        windows = padded.view(-1).unfold(0, width * channels, 1)
        return windows.index_select(0, first_bytes.flatten()).view(images.shape)

    def _rotate(self, images: Tensor, turn: Tensor) -> Tensor:
        angle = torch.deg2rad((2 * turn - 1) * self.rotation)
        size = images.shape[1]
        # Centres of the pixels, from -1 to 1.
        centres = (2 * torch.arange(size, device=images.device) + 1) / size - 1
        points = torch.complex(*torch.meshgrid(centres, centres, indexing="xy"))  # x + iy, (H, W)
        grid = torch.view_as_real(torch.polar(torch.ones_like(angle), angle)[:, None, None] * points)
        rotated = F.grid_sample(images.permute(0, 3, 1, 2).float(), grid, align_corners=False)
        return rotated.round_().to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    def _erase(self, images: Tensor, chance: Tensor, area: Tensor, ratio: Tensor, y: Tensor, x: Tensor) -> Tensor:
        _, height, width, _ = images.shape
        share = 0.02 + area * (0.33 - 0.02)
        # Height over width, from 1/3.3 to 3.3.
        aspect = torch.exp((2 * ratio - 1) * torch.log(torch.tensor(3.3)))
        tall = (share * height * width * aspect).sqrt().clamp(1, height).round()
        wide = (share * height * width / aspect).sqrt().clamp(1, width).round()
        top, left = (y * (height - tall + 1)).floor(), (x * (width - wide + 1)).floor()

        rows = torch.arange(height, device=images.device)[None, :]
        columns = torch.arange(width, device=images.device)[None, :]
        in_rows = (rows >= top[:, None]) & (rows < (top + tall)[:, None])
        in_columns = (columns >= left[:, None]) & (columns < (left + wide)[:, None])
        erased = in_rows[:, :, None] & in_columns[:, None, :] & (chance < self.random_erasing)[:, None, None]
        return images.masked_fill(erased[..., None], 127)


def mirrored(images: Tensor, chosen: Tensor) -> Tensor:
    """Images (B, H, W, C) of which the chosen (B,) show their other side."""
    if images.device.type == "cpu" and images[0].numel() > LARGE:
        # One by one they stay in the processor's cache: a quarter of the time.
        made = torch.empty_like(images)
        for place, image, is_chosen in zip(made, images, chosen.tolist(), strict=True):
            place.copy_(image.flip(1) if is_chosen else image)
        return made
    sides = torch.arange(len(images), device=images.device) + len(images) * chosen
    # Quicker than torch.where over both sides.
    return torch.cat([images, images.flip(2)]).index_select(0, sides)


def pad(images: Tensor, padding: int, mode: str) -> Tensor:
    """Images (B, H, W, C) with `padding` more pixels on each side, as torchvision's `pad`."""
    if mode == "constant":
        return F.pad(images, (0, 0, padding, padding, padding, padding))
    for dim in (1, 2):
        size = images.shape[dim]
        before = images.narrow(dim, 1, padding).flip(dim)
        after = images.narrow(dim, size - 1 - padding, padding).flip(dim)
        images = torch.cat([before, images, after], dim)
    return images


class Normalize:
    """Images (B, H, W, C) uint8 -> (B, C, H, W) float32, channels last in memory, by statistics in [0, 1].

    On each device bit-identical to torchvision's `ToTensor` and `Normalize` on the CPU.
    """

    def __init__(self, mean: list[float], std: list[float]):
        self.mean, self.std = torch.tensor(mean), torch.tensor(std)
        # A GPU would multiply by the reciprocal of a number, which rounds otherwise.
        self.full = torch.tensor(255.0)

    def to(self, device: torch.device) -> "Normalize":
        self.mean, self.std, self.full = (each.to(device) for each in (self.mean, self.std, self.full))
        return self

    def __call__(self, images: Tensor) -> Tensor:
        batch, height, width, channels = images.shape
        mean, std = (each.expand(height, width, channels).flatten() for each in (self.mean, self.std))
        # In whole images: three channels would waste vector units.
        pixels = images.flatten(1).to(torch.float32).div_(self.full).sub_(mean).div_(std)
        return pixels.view(batch, height, width, channels).permute(0, 3, 1, 2)
