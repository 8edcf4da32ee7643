"""Convolutions with batch or group norm, which can be computed again in the backward pass."""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from kindling.errors import ConfigError
from kindling.ranges import PositiveInt, Probability
from kindling.training.recomputation import recomputed


class CNN(nn.Module):
    """One stage for each entry of `channels`, each halving the image: (B, C, H, W) -> logits (B, K)."""

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        channels: list[PositiveInt],
        dropout: Probability,
        # Defaults, as checkpoints of before do not name these.
        norm: Literal["batch", "group"] = "batch",
        checkpoint_activations: bool = False,
    ):
        super().__init__()
        if not channels:
            raise ConfigError("model.channels: given []; allowed: the channels of at least one stage")
        self.stages = nn.Sequential(*(stage(*widths, norm) for widths in pairwise([in_channels, *channels])))
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels[-1], num_classes))
        self.checkpoint_activations = checkpoint_activations

    def forward(self, images: Tensor) -> Tensor:
        if not torch.jit.is_scripting() and self.checkpoint_activations and self.training:  # pyright: ignore
            features = recomputed(self.stages, images)
        else:
            features = self.stages(images)
        return self.head(features.amax((2, 3)))


def stage(narrow: int, wide: int, norm: str) -> nn.Sequential:
    """(B, narrow, H, W) -> (B, wide, H / 2, W / 2)."""
    layers: list[nn.Module] = []
    for in_channels in (narrow, wide):
        conv = nn.Conv2d(in_channels, wide, kernel_size=3, padding=1, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        norm_layer = nn.BatchNorm2d(wide) if norm == "batch" else nn.GroupNorm(2, wide)
        layers += [conv, norm_layer, nn.ReLU(inplace=True)]
    layers.insert(1, nn.MaxPool2d(2))
    return nn.Sequential(*layers)
