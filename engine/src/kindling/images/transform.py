"""A torchvision transform of one training image, as a function of the image and of the seeded generators."""

from typing import Any

from torch import Tensor, nn
from torchvision.transforms import v2

from kindling.errors import ConfigError, one_line


def split_crop(transform: nn.Module | None) -> tuple[v2.RandomResizedCrop | None, nn.Module | None]:
    """What a transform begins with, if that is a random crop, and the rest of it, if there is one."""
    parts: list[Any] = list(transform.transforms) if isinstance(transform, v2.Compose) else [transform]
    if not parts or not isinstance(parts[0], v2.RandomResizedCrop):
        return None, transform
    return parts[0], v2.Compose(parts[1:]) if parts[1:] else None


def transformed(transform: nn.Module, image: Tensor) -> Tensor:
    """(H, W, C) uint8 -> (H, W, C) uint8.

    Raises:
        ConfigError: the transform cannot take such an image, or returns something else.
    """
    parts = transform.transforms if isinstance(transform, v2.Compose) else [transform]
    given = f"data.transform: given {' and '.join(type(each).__name__ for each in parts)}"
    try:
        changed = transform(image.permute(2, 0, 1))
    except (RuntimeError, ValueError, TypeError) as error:
        reason = f"cannot take an image of (H, W, C) = {tuple(image.shape)} ({one_line(error)})"
        raise ConfigError(f"{given}, which {reason}; set it to null or take another") from error
    if isinstance(changed, Tensor):
        shape = (*changed.shape[1:], *changed.shape[:1])
        if changed.dtype == image.dtype and shape == image.shape:
            return changed.permute(1, 2, 0)
    made = f"{changed.dtype} of {tuple(changed.shape)}" if isinstance(changed, Tensor) else type(changed).__name__
    raise ConfigError(f"{given}, which makes it {made}; allowed: uint8 of the same (C, H, W); take another")
