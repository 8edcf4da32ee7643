"""The LightningModule of a checkpoint, for everything but training."""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule
from torch import nn

from kindling.checkpoints.checkpoint import DESCRIPTION, load_weights
from kindling.checkpoints.described import build, section
from kindling.checkpoints.downloads import no_downloads
from kindling.checkpoints.foreign_weights import warn_of_no_numbers
from kindling.checkpoints.trial_build import build_for
from kindling.config import given
from kindling.config.composition import instantiate
from kindling.errors import CheckpointError
from kindling.training.example import has_lazy_layers
from kindling.training.task import Task

# Where a task's state_dict has its net.
NET = "net."
# Arguments by which torchvision downloads weights.
PRETRAINED = ("pretrained", "pretrained_backbone")
# Their defaults may download, null does not.
WEIGHTS = ("weights", "weights_backbone")


def rebuild(saved: dict[str, Any], path: Path) -> LightningModule:
    """The task of a loaded checkpoint, with its weights.

    Raises:
        CheckpointError: its weights do not fit the model that it describes.
    """
    with no_downloads("give weights by the checkpoint alone"):
        task = build_for(saved["state_dict"], path, lambda: task_of(saved[DESCRIPTION], saved["state_dict"]))
    assert isinstance(task, LightningModule)
    load_weights(task, saved["state_dict"], path)
    warn_of_no_numbers(task, path)
    return task


def task_of(description: dict[str, Any], weights: dict[str, Any]) -> LightningModule:
    """The task that a checkpoint describes, with whatever weights, but of the shapes of those that are given.

    Raises:
        KindlingError: it cannot be built.
    """
    config = description["config"]
    if config.get("task") is None:
        raise CheckpointError(
            "task: was given in Python, so that its checkpoint does not say how it is built; allowed: a task of a "
            "config; in Python, load its weights with torch.load and test it with a Trainer"
        )
    node = without_downloads(section(config, "task"), of="torchvision.models.")
    taken = given.taken_by(str(node.get("_target_")))
    parts: dict[str, Any] = {"config": config} if "config" in taken else {}
    if "net" in taken:
        parts["net"] = build(without_downloads(section(config, "model")), "model", nn.Module)
        if has_lazy_layers(parts["net"]):
            # A task may ask for their shapes.
            own = {key.removeprefix(NET): value for key, value in weights.items() if key.startswith(NET)}
            parts["net"].load_state_dict(own)
    if "metrics" in taken and config.get("metrics"):
        parts["metrics"] = instantiate(section(config, "metrics"), "metrics")
    # What only training needs.
    parts |= dict.fromkeys((given.required_by(str(node.get("_target_")))) - parts.keys())
    task = build(node, "task", LightningModule, **parts)
    if isinstance(task, Task):
        task.facts = description["facts"]
    return task


def without_downloads(config: Any, of: str = "") -> Any:
    """A node without what downloads weights, however deep, since all are in the checkpoint; `of`: starts of targets."""
    if isinstance(config, list):
        return [without_downloads(each, of) for each in config]
    if not isinstance(config, dict):
        return config
    kept = {key: without_downloads(value, of) for key, value in config.items()}
    if not str(config.get("_target_")).startswith(of):
        return kept
    return {key: None if key in WEIGHTS else value for key, value in kept.items() if key not in PRETRAINED}


def net_of(task: LightningModule, path: Path) -> nn.Module:
    """
    Raises:
        CheckpointError: a task that is no `Task` does not say which of its modules is the net.
    """
    if not isinstance(task, Task):
        raise CheckpointError(f"{path}: a checkpoint of {type(task).__name__}; allowed: of a Task, whose net is known")
    return task.net
