"""Weights as safetensors with the description of their model: what a checkpoint holds, to be given away."""

import json
from pathlib import Path
from typing import Any

from torch import nn

from kindling.checkpoints.checkpoint import DESCRIPTION, load_weights, understood
from kindling.checkpoints.described import blamed_on
from kindling.checkpoints.downloads import no_downloads
from kindling.checkpoints.foreign_weights import warn_of_no_numbers
from kindling.checkpoints.safetensors import read_safetensors, write_safetensors
from kindling.checkpoints.trial_build import build_for
from kindling.config.renames import FORMAT
from kindling.config.targets import relative
from kindling.errors import CheckpointError
from kindling.files.foreign_file import read_text
from kindling.files.redaction import redact_config
from kindling.files.whole_file import write_whole
from kindling.inference.model_folder import FILES, MOST_DESCRIPTION_BYTES
from kindling.training.rebuild import NET, net_of, task_of
from kindling.training.task import Task

CONFIG = "config.json"


def write(folder: Path, net: nn.Module, description: dict[str, Any]) -> None:
    """The weights of a net, and what `description` of its checkpoint says, without paths of this machine."""
    write_safetensors(net.state_dict(), folder / FILES["safetensors"])
    config = description["config"]
    away = {name: None for name in ("paths", "hydra", "resume", "fork", "weights") if name in config}
    carried = {**description, "format": FORMAT, "config": relative(redact_config(config | away))}
    with write_whole(folder / CONFIG, durable=True) as stream:
        json.dump(without_places(carried), stream, indent=2, ensure_ascii=False)


def without_places(config: Any) -> Any:
    """Plain values; of a path of this machine the last part."""
    if isinstance(config, dict):
        return {key: without_places(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [without_places(each) for each in config]
    is_place = isinstance(config, str) and config.startswith(("/", "~"))
    return Path(config).name if is_place else config


def read(folder: Path) -> tuple[Task, nn.Module]:
    """The task and its net with the weights; runs no code but that of classes that a config may name.

    Raises:
        CheckpointError: a file is missing or damaged, or the weights are of another model.
    """
    file, config = folder / FILES["safetensors"], folder / CONFIG
    try:
        description = json.loads(read_text(config, MOST_DESCRIPTION_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{config}: is missing or damaged ({error}); export the model anew") from error
    weights = read_safetensors(file)
    saved = {"state_dict": {NET + name: each for name, each in weights.items()}, DESCRIPTION: description}
    with blamed_on(file), no_downloads("give weights by the folder alone"):
        saved = understood(saved, file)
        task: Any = build_for(saved["state_dict"], file, lambda: task_of(saved[DESCRIPTION], saved["state_dict"]))
        net = net_of(task, file)
        load_weights(net, {name.removeprefix(NET): each for name, each in saved["state_dict"].items()}, file)
        warn_of_no_numbers(net, file)
    return task, net
