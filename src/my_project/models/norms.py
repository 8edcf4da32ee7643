"""The norms that a convolutional network can take."""

from typing import Literal

from torch import nn

Norm = Literal["batch", "layer", "group"]
# The paper's choice for the channels of large nets.
MOST_GROUPS = 32


def norm_of(kind: Norm, channels: int) -> nn.BatchNorm2d | nn.GroupNorm:
    """Batch norm, or group norm (arXiv 1803.08494), of which layer norm has one group: (B, C, H, W) -> (B, C, H, W)."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(1 if kind == "layer" else num_groups(channels), channels)


def num_groups(channels: int) -> int:
    """The largest number up to 32 that leaves each group the same number of channels, two or more if that can be."""
    # One channel a group would be instance norm.
    most = min(MOST_GROUPS, max(1, channels // 2))
    return max(number for number in range(1, most + 1) if channels % number == 0)
