"""The LightningModule of a checkpoint, for everything but training."""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule
from torch import nn

from kindling.checkpoints.checkpoint import DESCRIPTION, load_weights
from kindling.checkpoints.described import build, section
from kindling.config import given
from kindling.config.composition import instantiate
from kindling.errors import CheckpointError
from kindling.training.task import Task

# Arguments by which torchvision downloads weights.
PRETRAINED = ("pretrained", "pretrained_backbone", "weights_backbone")


def rebuild(saved: dict[str, Any], path: Path) -> LightningModule:
    """The task of a loaded checkpoint, with its weights.

    Raises:
        CheckpointError: its weights do not fit the model that it describes.
    """
    config = saved[DESCRIPTION]["config"]
    node = section(config, "task")
    taken = given.taken_by(str(node.get("_target_")))
    parts: dict[str, Any] = {"config": config} if "config" in taken else {}
    if "net" in taken:
        parts["net"] = build(without_downloads(section(config, "model")), "model", nn.Module)
    if "metrics" in taken and config.get("metrics"):
        parts["metrics"] = instantiate(section(config, "metrics"), "metrics")
    # What only training needs.
    parts |= dict.fromkeys((given.required_by(str(node.get("_target_")))) - parts.keys())
    task = build(node, "task", LightningModule, **parts)
    if isinstance(task, Task):
        task.facts = saved[DESCRIPTION]["facts"]
    load_weights(task, saved["state_dict"], path)
    return task


def without_downloads(model: dict[str, Any]) -> dict[str, Any]:
    """The settings of a model whose weights are all in the checkpoint."""
    kept = {key: value for key, value in model.items() if key not in PRETRAINED}
    return kept | ({"weights": None} if "weights" in kept else {})


def net_of(task: LightningModule, path: Path) -> nn.Module:
    """
    Raises:
        CheckpointError: a task that is no `Task` does not say which of its modules is the net.
    """
    if not isinstance(task, Task):
        raise CheckpointError(f"{path}: a checkpoint of {type(task).__name__}; allowed: of a Task, whose net is known")
    return task.net
