"""Attention over patches, with branches that are left out at random."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from kindling.errors import ConfigError
from kindling.ranges import BelowOne, PositiveInt, Probability
from kindling.training.recomputation import recomputed


class ViT(nn.Module):
    """Shapes: images (B, C, H, W) -> logits (B, K)."""

    BLOCKS: ClassVar = "encoder.layers"

    def __init__(
        self,
        in_channels: int,
        image_size: int,
        num_classes: int,
        patch_size: PositiveInt,
        dim: PositiveInt,
        depth: PositiveInt,
        dropout: Probability,
        stochastic_depth: BelowOne,
        checkpoint_activations: bool,
    ):
        super().__init__()
        if image_size % patch_size:
            raise ConfigError(
                f"model.patch_size: given {patch_size}; allowed: a divisor of data.image_size, {image_size}"
            )
        self.patches = nn.Conv2d(in_channels, dim, patch_size, stride=patch_size)
        self.positions = nn.Parameter(0.02 * torch.randn(1, (image_size // patch_size) ** 2, dim))
        layer = nn.TransformerEncoderLayer(dim, 2, 2 * dim, dropout, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, norm=nn.LayerNorm(dim), enable_nested_tensor=False)
        for each in self.encoder.layers:
            each.dropout2 = nn.Sequential(nn.Dropout(dropout), StochasticDepth(stochastic_depth, "row"))
        self.head = nn.Linear(dim, num_classes)
        self.checkpoint_activations = checkpoint_activations

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2) + self.positions  # (B, patches, dim)
        if not torch.jit.is_scripting() and self.checkpoint_activations and self.training:  # pyright: ignore
            assert self.encoder.norm, "given above"
            tokens = self.encoder.norm(recomputed(self.encoder.layers, tokens))
        else:
            tokens = self.encoder(tokens)
        return self.head(tokens.mean(1))
