"""A perceptron for tables, which takes rows and gives answers in their own units."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from kindling.ranges import Positive, PositiveInt, Probability


class Tabular(nn.Module):
    """A line through the features, and what hidden layers add to it.

    Shapes: features (B, F) -> predictions (B,).

    Args:
        mean: of each feature in training.
        std: likewise.
        target_mean: of the targets in training, which is predicted at first.
        target_std: likewise.
        hidden: width of each hidden layer; with none, the model is linear.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: list[float],
        std: list[Positive],
        target_mean: float,
        target_std: Positive,
        hidden: list[PositiveInt],
        dropout: Probability,
    ):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))
        self.target_mean, self.target_std = target_mean, target_std
        widths = [len(mean), *hidden]
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(widths):
            layers += [nn.Linear(narrow, wide), nn.ReLU(), nn.Dropout(dropout)]
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, features: Tensor) -> Tensor:
        standardised = (features - self.mean) / self.std
        return self.target_mean + self.target_std * self.head(self.hidden(standardised)).squeeze(1)
