"""The models of bench/, built for colour images of 32 x 32 and seven classes."""

import torch
from torch import nn

from kindling.cli.entry import compose
from kindling.config.composition import instantiate


def model_of(name: str, *overrides: str) -> nn.Module:
    torch.manual_seed(0)
    shape = ["data=fake", "data.channels=3", "data.image_size=32", "data.num_classes=7"]
    return instantiate(compose([*shape, f"model={name}", *overrides]).model, "model")
