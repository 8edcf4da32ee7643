"""The convolutional network that learns CIFAR-10 to 94 % the fastest: cifar10-airbench (arXiv 2404.00498)."""

import torch
from torch import Tensor, nn

from kindling.errors import ConfigError
from kindling.ranges import PositiveInt
from my_project.models.whitening import Whitening

# A run of some hundred steps needs statistics that follow quickly.
NORM_MOMENTUM = 0.4
NORM_EPS = 1e-12
# Uniform numbers from minus to plus it have a std of 1.
UNIFORM = 3**0.5


class Airbench(nn.Module):
    """Whitened patches, one stage for each entry of `widths`, the largest value of each channel, a linear head.

    `callbacks.whitening` fits the first layer to the data. Shapes: images (B, C, H, W) -> logits (B, K), with
    H and W at least 2 ** len(widths) + whitening_size - 1.
    """

    def __init__(self, in_channels: int, num_classes: int, widths: list[PositiveInt], whitening_size: PositiveInt):
        super().__init__()
        if not widths:
            raise ConfigError("model.widths: given []; allowed: the channels of at least one stage")
        self.whitening = Whitening(in_channels, whitening_size)
        channels = [self.whitening.out_channels, *widths]
        self.stages = nn.Sequential(*map(stage, channels[:-1], channels[1:]))
        self.head = nn.Linear(widths[-1], num_classes, bias=False)
        nn.init.uniform_(self.head.weight, -UNIFORM, UNIFORM)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stages(nn.functional.gelu(self.whitening(images)))  # (B, widths[-1], H / 2^n, W / 2^n)
        # Not amax: see CNN.
        return self.head(features.flatten(2).max(2).values) / self.head.in_features


def stage(in_channels: int, out_channels: int) -> nn.Sequential:
    """(B, in_channels, H, W) -> (B, out_channels, H / 2, W / 2)."""
    return nn.Sequential(
        convolution(in_channels, out_channels),
        nn.MaxPool2d(2),
        norm(out_channels),
        nn.GELU(),
        convolution(out_channels, out_channels),
        norm(out_channels),
        nn.GELU(),
    )


def convolution(in_channels: int, out_channels: int) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
    pass_on(conv)
    return conv


@torch.no_grad()
def pass_on(conv: nn.Conv2d) -> None:
    """Let the first filters pass on one input channel each (a Dirac kernel); others stay random."""
    nn.init.dirac_(conv.weight[: conv.in_channels])


def norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm that learns its bias alone."""
    batch_norm = nn.BatchNorm2d(channels, eps=NORM_EPS, momentum=NORM_MOMENTUM)
    batch_norm.weight.requires_grad_(False)
    return batch_norm
