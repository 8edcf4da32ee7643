"""A model that may start with weights of another training."""

from typing import Any

import torch
from torch import Tensor, nn

from kindling.checkpoints.pretrained import load_all_but_head
from kindling.errors import CheckpointError, one_line


class Pretrained(nn.Module):
    """A linear model. Shapes: images (B, C, H, W) -> logits (B, K).

    Args:
        weights: None, or a file with a state_dict.
        options: further arguments of the first layer.
    """

    def __init__(self, in_channels: int, image_size: int, num_classes: int, weights: str | None, **options: Any):
        super().__init__()
        self.stem = nn.Linear(in_channels * image_size**2, 8, **options)
        self.head = nn.Linear(8, num_classes)
        if weights is not None:
            try:
                found = torch.load(weights, map_location="cpu", weights_only=True)
            except Exception as error:  # the unpickler's errors have no common class
                raise CheckpointError(
                    f"model.weights: given {weights}, which is no state_dict ({one_line(error)})"
                ) from error
            load_all_but_head(self, found)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(torch.relu(self.stem(images.flatten(1))))
