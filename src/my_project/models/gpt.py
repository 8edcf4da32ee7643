"""A GPT: a causal transformer that says what comes next (Radford et al., 2018)."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kindling.errors import ConfigError
from kindling.ranges import PositiveInt, Probability
from kindling.training.recomputation import recomputed


class GPT(nn.Module):
    """Pre-norm layers with rotary positions (arXiv 2104.09864), whose branches start at zero.

    Shapes: ids (B, T) -> logits (B, T, V).
    """

    # What trainer=fsdp2 shares out one by one.
    BLOCKS: ClassVar = "layers"

    def __init__(
        self,
        vocab_size: int,
        dim: PositiveInt,
        depth: PositiveInt,
        num_heads: PositiveInt,
        dropout: Probability,
        # A default, as checkpoints of before do not name it.
        checkpoint_activations: bool = False,
    ):
        super().__init__()
        if dim % (2 * num_heads):
            raise ConfigError(f"model.num_heads: given {num_heads}; allowed: twice it divides model.dim, {dim}")
        self.tokens = nn.Embedding(vocab_size, dim)
        self.layers = nn.Sequential(*(Layer(dim, num_heads, dropout) for _ in range(depth)), nn.RMSNorm(dim))
        self.head = nn.Linear(dim, vocab_size)
        self.checkpoint_activations = checkpoint_activations
        # So that the first loss is that of guessing.
        nn.init.normal_(self.head.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids)
        if not torch.jit.is_scripting() and self.checkpoint_activations and self.training:  # pyright: ignore
            return self.head(recomputed(self.layers, x))
        return self.head(self.layers(x))


class Layer(nn.Module):
    """Attention, then a perceptron, each added to what it is given: (B, T, dim) -> (B, T, dim)."""

    def __init__(self, dim: int, num_heads: int, dropout: float):
        super().__init__()
        self.attention = nn.Sequential(nn.RMSNorm(dim), Attention(dim, num_heads), nn.Dropout(dropout))
        narrow = nn.Linear(4 * dim, dim)
        self.mlp = nn.Sequential(nn.RMSNorm(dim), nn.Linear(dim, 4 * dim), nn.GELU(), narrow, nn.Dropout(dropout))
        nn.init.zeros_(narrow.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        return x + self.mlp(x)


class Attention(nn.Module):
    """Each position looks at itself and at those before it."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.qkv(x).unflatten(2, (3, self.num_heads, -1))  # (B, T, 3, heads, D)
        query, key, value = heads.transpose(1, 3).unbind(2)  # (B, heads, T, D)
        # Dropout in here would double the time.
        seen = F.scaled_dot_product_attention(rotated(query), rotated(key), value, is_causal=True)
        return self.out(seen.transpose(1, 2).flatten(2))


def rotated(x: Tensor) -> Tensor:
    """(..., T, D): each pair of channels, turned by an angle of its own times the position."""
    first, second = x.chunk(2, dim=-1)
    rates = 10_000 ** -torch.linspace(0, 1, first.shape[-1], device=x.device)
    angles = torch.arange(x.shape[-2], device=x.device)[:, None] * rates  # (T, D / 2)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
