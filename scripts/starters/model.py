"""A small convolutional network, to start from: say here what yours is, and which paper it comes from."""

from torch import Tensor, nn

from kindling.ranges import PositiveInt, Probability


class Starter(nn.Module):
    """Two convolutions, then the largest value of each channel and a linear head.

    Shapes: images (B, C, H, W) -> logits (B, K), with H and W at least 4.
    """

    def __init__(self, in_channels: int, num_classes: int, width: PositiveInt, dropout: Probability):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, width, kernel_size=3, padding=1, bias=False),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, kernel_size=3, padding=1, bias=False),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
        )
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * width, num_classes))

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images)  # (B, 2 width, H / 4, W / 4)
        return self.head(features.flatten(2).max(2).values)
