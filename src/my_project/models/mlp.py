"""A multilayer perceptron on flattened images."""

from itertools import pairwise

from torch import Tensor, nn

from kindling.ranges import PositiveInt, Probability


class MLP(nn.Module):
    """Linear layers with ReLU and dropout between them; Kaiming-normal weights (arXiv 1502.01852).

    Shapes: images (B, C, H, W) -> logits (B, K).
    """

    def __init__(
        self, in_channels: int, image_size: int, num_classes: int, hidden: list[PositiveInt], dropout: Probability
    ):
        super().__init__()
        widths = [in_channels * image_size**2, *hidden]
        layers: list[nn.Module] = [nn.Flatten()]  # (B, C * H * W)
        for narrow, wide in pairwise(widths):
            layers += [nn.Linear(narrow, wide), nn.ReLU(), nn.Dropout(dropout)]
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], num_classes)
        for module in self.hidden:
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.hidden(images))
