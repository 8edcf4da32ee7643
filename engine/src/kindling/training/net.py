"""What a module trains: the net of a task; of a module that does not say, all of it."""

from lightning.pytorch import LightningModule
from torch import nn

from kindling.errors import ConfigError
from kindling.training.task import Task


def net_of(module: LightningModule) -> nn.Module:
    return module.net if isinstance(module, Task) else module


def refuse_manual_optimization(module: LightningModule, path: str, because: str) -> None:
    """
    Raises:
        ConfigError: the module steps its optimizers itself, which `path` cannot use.
    """
    if not module.automatic_optimization:
        raise ConfigError(
            f"{path}: given {type(module).__name__}, which steps its optimizers itself, {because}; "
            "allowed: a module with automatic_optimization"
        )
