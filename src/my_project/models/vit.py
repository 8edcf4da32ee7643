"""A small vision transformer (Dosovitskiy et al., arXiv 2010.11929)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from kindling.errors import ConfigError
from kindling.ranges import BelowOne, PositiveInt, Probability
from kindling.training.recomputation import recomputed
from my_project.models.stochastic_depth import branch_drops


class ViT(nn.Module):
    """Patches, a class token and learned positions through pre-norm encoder layers.

    Xavier-uniform weights and positions of std 0.02, as in the paper's code.

    Shapes: images (B, C, H, W) -> logits (B, K).
    """

    # What trainer=fsdp2 shares out one by one.
    BLOCKS: ClassVar = "encoder.layers"

    def __init__(
        self,
        in_channels: int,
        image_size: int,
        num_classes: int,
        patch_size: PositiveInt,
        dim: PositiveInt,
        depth: PositiveInt,
        num_heads: PositiveInt,
        dropout: Probability,
        # Defaults, as checkpoints of before do not name these.
        stochastic_depth: BelowOne = 0.0,
        checkpoint_activations: bool = False,
    ):
        super().__init__()
        if image_size % patch_size:
            raise ConfigError(
                f"model.patch_size: given {patch_size}; allowed: a divisor of data.image_size, {image_size}"
            )
        if dim % num_heads:
            raise ConfigError(f"model.num_heads: given {num_heads}; allowed: a divisor of model.dim, {dim}")
        num_patches = (image_size // patch_size) ** 2
        self.patches = nn.Conv2d(in_channels, dim, patch_size, stride=patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.positions = nn.Parameter(torch.zeros(1, 1 + num_patches, dim))
        layer = nn.TransformerEncoderLayer(
            dim, num_heads, 4 * dim, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, depth, norm=nn.LayerNorm(dim), enable_nested_tensor=False)
        if stochastic_depth:
            self._drop_branches(dropout, stochastic_depth)
        self.head = nn.Linear(dim, num_classes)
        self.checkpoint_activations = checkpoint_activations
        self._initialise()

    def _drop_branches(self, dropout: float, last: float) -> None:
        drops = branch_drops(last, len(self.encoder.layers))
        # Either dropout ends a branch.
        for layer, drop in zip(self.encoder.layers, drops, strict=True):
            layer.dropout1 = nn.Sequential(nn.Dropout(dropout), drop)
            layer.dropout2 = nn.Sequential(nn.Dropout(dropout), drop)

    def _initialise(self) -> None:
        nn.init.normal_(self.positions, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        # So that the first loss is near that of guessing.
        nn.init.normal_(self.head.weight, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)  # (B, patches, dim)
        tokens = torch.cat([self.class_token.expand(tokens.shape[0], -1, -1), tokens], dim=1) + self.positions
        if not torch.jit.is_scripting() and self.checkpoint_activations and self.training:  # pyright: ignore
            assert self.encoder.norm, "given above"
            tokens = self.encoder.norm(recomputed(self.encoder.layers, tokens))
        else:
            tokens = self.encoder(tokens)
        return self.head(tokens[:, 0])
