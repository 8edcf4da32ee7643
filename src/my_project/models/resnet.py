"""The residual network for small images of He et al. (arXiv 1512.03385, section 4.2)."""

import torch
from torch import Tensor, nn

from kindling.errors import ConfigError
from kindling.ranges import BelowOne, PositiveInt, Probability
from kindling.training.recomputation import recomputed
from my_project.models.norms import Norm, norm_of
from my_project.models.stochastic_depth import branch_drops


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut: (B, in, H, W) -> (B, out, H / stride, W / stride)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, norm: Norm, drop: nn.Module):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.norm1 = norm_of(norm, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = norm_of(norm, out_channels)
        self.drop = drop
        self.shortcut = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            project = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(project, norm_of(norm, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        residual = torch.relu(self.norm1(self.conv1(x)))
        residual = self.drop(self.norm2(self.conv2(residual)))
        return torch.relu(residual + self.shortcut(x))


class ResNet(nn.Module):
    """Three stages of `width`, 2 `width` and 4 `width` channels; `depth` = 6n + 2 layers.

    Kaiming-normal weights; each block's last norm starts at zero, so that it starts as the identity
    (arXiv 1706.02677). Shapes: images (B, C, H, W) -> logits (B, K).
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        depth: PositiveInt,
        width: PositiveInt,
        dropout: Probability,
        # Defaults, as checkpoints of before do not name these.
        norm: Norm = "batch",
        stochastic_depth: BelowOne = 0.0,
        checkpoint_activations: bool = False,
    ):
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ConfigError(f"model.depth: given {depth}; allowed: 6n + 2, such as 8, 14, 20, 32, 56")
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
            norm_of(norm, width),
            nn.ReLU(inplace=True),
        )
        blocks: list[nn.Module] = []
        drops = branch_drops(stochastic_depth, (depth - 2) // 2)
        channels = width
        for stage_width in (width, 2 * width, 4 * width):
            for index in range((depth - 2) // 6):
                stride = 2 if index == 0 and stage_width > width else 1
                blocks.append(Block(channels, stage_width, stride, norm, drops[len(blocks)]))
                channels = stage_width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels, num_classes)
        )
        self.checkpoint_activations = checkpoint_activations
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, Block):
                nn.init.zeros_(module.norm2.weight)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images)  # (B, width, H, W)
        if not torch.jit.is_scripting() and self.checkpoint_activations and self.training:  # pyright: ignore
            features = recomputed(self.blocks, features)
        else:
            features = self.blocks(features)
        # (B, 4 width, H / 4, W / 4)
        return self.head(features)
