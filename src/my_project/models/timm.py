"""Any classification model of timm, by name, with its own head: python -m my_project.models.timm NAME

That command prints the settings of the data that the weights of a name were trained with.
"""

import math
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval
from torch import Tensor, nn

from kindling.checkpoints.foreign_weights import read_foreign
from kindling.config.extras import optional
from kindling.config.fault import Fault, listed, nearest
from kindling.errors import CheckpointError, ConfigError, KindlingError, one_line

# Characters of what torch says of weights that do not fit.
LONGEST = 200


class TimmModel(nn.Module):
    """A timm model with random weights, or those of a file.

    Args:
        in_channels: of the images.
        num_classes: K.
        image_size: height and width; a transformer is made for it.
        name: such as resnet18; a wrong one is answered with the nearest.
        weights: None, or a file of timm's weights (.safetensors, .pth). The head is left at its initialisation if it
            has other classes; the first layer is fitted to the channels, and positions to the size.
        drop_path: the share of images that leave out a layer in training, which grows to this one from the first layer
            to the last (arXiv 1603.09382).
        options: further arguments of the model.

    Shapes: images (B, C, H, W) -> logits (B, K).

    Raises:
        ConfigError: timm is not installed, or has no such model or argument.
        CheckpointError: the weights are of another model.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        image_size: int,
        name: str,
        weights: str | None,
        drop_path: Annotated[float, Interval(ge=0, lt=1)],
        **options: Any,
    ):
        super().__init__()
        settings = settings_of(name)
        options |= {"drop_path_rate": drop_path} if drop_path else {}
        options |= {"img_size": image_size} if settings["fixed_input_size"] else {}
        found = read_weights(weights) if weights is not None else {}
        # As many classes as the file has, so that all of it must fit; then a head of our own.
        classes = classes_in(found, settings["classifier"]) if weights is not None else num_classes
        if weights is not None:
            overlay = {"state_dict": found, "num_classes": classes, "custom_load": False}
            options |= {"pretrained": True, "pretrained_cfg_overlay": overlay}
        try:
            self.net = optional("timm").create_model(name, num_classes=classes, in_chans=in_channels, **options)
        except TypeError as error:
            given = ", ".join(f"{key}={value}" for key, value in options.items() if not key.startswith("pretrained"))
            raise ConfigError(f"model: given {given} for {name}, which it does not take ({one_line(error)})") from error
        except RuntimeError as error:
            raise CheckpointError(
                f"model.weights: given {weights}, not those of {name} ({one_line(error)[:LONGEST]}); give others"
            ) from error
        if classes != num_classes:
            self.net.reset_classifier(num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)

    def layer_numbers(self) -> dict[str, int]:
        """The layer of each parameter, by timm's groups: what layer_lr_decay and fine-tuning go by."""
        group: Any = optional("timm.models._manipulate").group_with_matcher
        numbers = group(self.net.named_parameters(), self.net.group_matcher(coarse=False), reverse=True)
        # Those of a list of names may skip some.
        places = {number: place for place, number in enumerate(sorted(set(numbers.values())))}
        return {f"net.{name}": places[number] for name, number in numbers.items()}


def read_weights(given: str) -> dict[str, Tensor]:
    """
    Raises:
        CheckpointError: it is no file of weights, or one that train.py wrote.
    """
    file = Path(given).expanduser()
    if not file.is_file():
        raise CheckpointError(f"model.weights: given {given}, which is no file; allowed: a file of timm's weights")
    try:
        found = read_foreign(file)
    except CheckpointError as error:
        raise CheckpointError(f"model.weights: {error}") from error
    if found is None:
        raise CheckpointError(
            f"model.weights: given {given}, a checkpoint of train.py; allowed: weights={given}, or a file of timm's"
        )
    return found


def classes_in(weights: dict[str, Tensor], classifier: str | tuple[str, ...]) -> int:
    """How many a file has; 0 without a head."""
    first = classifier if isinstance(classifier, str) else classifier[0]
    head = weights.get(f"{first}.bias")
    return 0 if head is None else len(head)


def settings_of(name: str) -> dict[str, Any]:
    """What timm says of the weights of a name: input_size (C, H, W), crop_pct, interpolation, mean, std and more.

    Raises:
        ConfigError: timm is not installed, or has no such model.
    """
    timm: Any = optional("timm")
    if not timm.is_model(name):
        allowed = timm.list_models()
        raise ConfigError(str(Fault("model.name", repr(name), listed(allowed), nearest(name, allowed))))
    return timm.get_pretrained_cfg(name).to_dict()


def lines_for(name: str) -> list[str]:
    """The settings of data of image files with which evaluation sees what timm's does."""
    settings = settings_of(name)
    size, interpolation = settings["input_size"][-1], settings["interpolation"]
    lines = {
        "mean": list(settings["mean"]),
        "std": list(settings["std"]),
        "image_size": size,
        "crop": size,
        "resize": math.floor(size / settings["crop_pct"]),
        "interpolation": interpolation if interpolation in ("bilinear", "bicubic") else "bicubic",
    }
    return [f"data.{key}={str(value).replace(' ', '')}" for key, value in lines.items()]


if __name__ == "__main__":
    try:
        # What packages print while they are imported is no setting.
        with redirect_stdout(sys.stderr):
            lines = lines_for(sys.argv[1] if len(sys.argv) > 1 else "")
        print(" ".join(lines))
    except KindlingError as error:
        sys.exit(f"error: {error}")
