"""Processes that would wait for each other for ever."""

from lightning.pytorch import LightningModule, Trainer

from kindling.errors import ConfigError
from kindling.lightning_internals.steps import waits_for_every_gradient


def refuse_waiting(trainer: Trainer, module: LightningModule) -> None:
    """
    Raises:
        ConfigError: each of its optimizers has a loss of its own, which leaves parameters of others without a gradient.
    """
    alone = module.automatic_optimization or len(trainer.optimizers) < 2
    if not alone and waits_for_every_gradient(trainer):
        raise ConfigError(
            f"trainer.strategy: given ddp with {type(module).__name__}, which steps {len(trainer.optimizers)} "
            "optimizers itself; allowed: trainer.strategy=ddp_find_unused_parameters_true, or trainer.devices=1"
        )
