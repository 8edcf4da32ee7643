"""A plain convolutional network: stages of convolutions with norms, each halving the image."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from kindling.errors import ConfigError
from kindling.ranges import PositiveInt, Probability
from kindling.training.recomputation import recomputed
from my_project.models.norms import Norm, norm_of


class CNN(nn.Module):
    """One stage for each entry of `channels`, then the largest value of each channel and a linear head.

    Kaiming-normal weights (arXiv 1502.01852). Shapes: images (B, C, H, W) -> logits (B, K), with H and W at
    least 2 ** len(channels).
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        channels: list[PositiveInt],
        dropout: Probability,
        # Defaults, as checkpoints of before do not name these.
        norm: Norm = "batch",
        checkpoint_activations: bool = False,
    ):
        super().__init__()
        if not channels:
            raise ConfigError("model.channels: given []; allowed: the channels of at least one stage")
        widths = [in_channels, *channels]
        self.stages = nn.Sequential(*(stage(narrow, wide, norm) for narrow, wide in pairwise(widths)))
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels[-1], num_classes))
        self.checkpoint_activations = checkpoint_activations

    def forward(self, images: Tensor) -> Tensor:
        if not torch.jit.is_scripting() and self.checkpoint_activations and self.training:  # pyright: ignore
            features = recomputed(self.stages, images)
        else:
            features = self.stages(images)
        # (B, channels[-1], H / 2^n, W / 2^n). Not amax: its backward looks for the value that was the largest, and a
        # compiled net of bfloat16 finds none, since it rounds at another place.
        return self.head(features.flatten(2).max(2).values)


def stage(in_channels: int, out_channels: int, norm: Norm) -> nn.Sequential:
    """(B, in_channels, H, W) -> (B, out_channels, H / 2, W / 2)."""
    return nn.Sequential(
        convolution(in_channels, out_channels),
        # Before norm and ReLU, which then cost a quarter.
        nn.MaxPool2d(2),
        norm_of(norm, out_channels),
        nn.ReLU(inplace=True),
        convolution(out_channels, out_channels),
        norm_of(norm, out_channels),
        nn.ReLU(inplace=True),
    )


def convolution(in_channels: int, out_channels: int) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
