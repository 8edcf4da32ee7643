"""Layers that find the shapes of their inputs themselves, as torch's documentation suggests to beginners."""

from torch import Tensor, nn


class Lazy(nn.Module):
    """A convolution and two linear layers: (B, C, H, W) -> logits (B, K)."""

    def __init__(self, num_classes: int, width: int, dropout: float):
        super().__init__()
        self.features = nn.Sequential(nn.LazyConv2d(width, 3, 2), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten())
        self.head = nn.Sequential(nn.LazyLinear(width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, num_classes))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))
