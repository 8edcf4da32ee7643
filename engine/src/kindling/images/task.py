"""The base of tasks whose inputs are images and whose outputs are a number for each class."""

import torch
from torch import Tensor

from kindling.errors import ConfigError
from kindling.training.task import Task


class ImageTask(Task):
    """Knows the shapes from the config of the data: images (B, C, H, W) -> logits (B, K)."""

    def example(self) -> Tensor:
        data = self.config["data"]
        return torch.zeros(2, data["channels"], data["image_size"], data["image_size"])

    def check_outputs(self, outputs: Tensor) -> None:
        expected = (2, self.config["data"]["num_classes"])
        if outputs.shape != expected:
            raise ConfigError(f"gives logits {tuple(outputs.shape)}; allowed: {expected}")
