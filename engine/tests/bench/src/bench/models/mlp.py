"""Linear layers on flattened images."""

from itertools import pairwise

from torch import Tensor, nn

from kindling.ranges import PositiveInt, Probability


class MLP(nn.Module):
    """Shapes: images (B, C, H, W) -> logits (B, K)."""

    def __init__(
        self, in_channels: int, image_size: int, num_classes: int, hidden: list[PositiveInt], dropout: Probability
    ):
        super().__init__()
        widths = [in_channels * image_size**2, *hidden]
        self.hidden = nn.Sequential(nn.Flatten())
        for narrow, wide in pairwise(widths):
            self.hidden.extend([nn.Linear(narrow, wide), nn.ReLU(), nn.Dropout(dropout)])
        self.head = nn.Linear(widths[-1], num_classes)
        for layer in self.hidden:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.hidden(images))
