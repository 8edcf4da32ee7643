"""Any classification model of torchvision, by name, with its own head."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from kindling.checkpoints.pretrained import load_all_but_head
from kindling.config.fault import Fault, listed, nearest
from kindling.errors import CheckpointError, ConfigError, one_line


class TorchvisionModel(nn.Module):
    """A torchvision model; grey images are repeated to the three channels that it takes.

    Args:
        in_channels: 1 or 3.
        num_classes: K.
        name: such as resnet18; a wrong one is answered with the nearest, or the list of all.
        weights: None, the name of torchvision's weights such as DEFAULT (downloaded), or a file with a state_dict.
            The head is left at its initialisation if its shape differs.
        options: further arguments of the model.

    Shapes: images (B, C, H, W) -> logits (B, K).

    Raises:
        ConfigError: torchvision has no such classification model or weights.
        CheckpointError: the weights are of another model.
    """

    def __init__(self, in_channels: int, num_classes: int, name: str, weights: str | None, **options: Any):
        super().__init__()
        allowed = models.list_models(module=models)
        if name not in allowed:
            near = nearest(name, allowed)
            raise ConfigError(
                str(Fault("model.name", repr(name), listed(allowed) if near else ", ".join(allowed), near))
            )
        if in_channels not in (1, 3):
            raise ConfigError(f"data.channels: given {in_channels}; allowed: 1 or 3 for model=torchvision")
        self.net = models.get_model(name, num_classes=num_classes, **options)
        if weights is not None:
            found = weights_by_name(name, weights)
            try:
                load_all_but_head(self.net, found)
            except CheckpointError as error:
                raise CheckpointError(f"model.weights: {error}") from error

    def forward(self, images: Tensor) -> Tensor:
        logits = self.net(images.expand(-1, 3, -1, -1))
        # GoogLeNet and Inception give tuples.
        return logits if isinstance(logits, Tensor) else logits.logits


def weights_by_name(model: str, weights: str) -> dict[str, Tensor]:
    """A state_dict from a file, or torchvision's weights of that name."""
    path = Path(weights).expanduser()
    names = list(models.get_model_weights(model).__members__)
    if path.is_file():
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            # The unpickler's errors have no common class.
            raise CheckpointError(f"model.weights: given {path}, which is no state_dict ({one_line(error)})") from error
    if weights != "DEFAULT" and weights not in names:
        raise ConfigError(f"model.weights: given {weights!r}; allowed: a file, DEFAULT, {', '.join(names)}")
    try:
        return models.get_model_weights(model)[weights].get_state_dict(progress=False)
    except OSError as error:
        raise CheckpointError(
            f"model.weights: given {weights}, whose download failed ({error}); give a file or null"
        ) from error
