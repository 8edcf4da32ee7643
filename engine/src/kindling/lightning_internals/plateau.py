"""When a plateau schedule steps: after validations in any rhythm, and where an epoch ends that logged its metric."""

from functools import partial
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.trainer import call

from kindling.lightning_internals import fresh, loops


def step_when_known(trainer: Trainer) -> None:
    """Replace how Lightning steps the plateau schedules of this training that it would step where each epoch ends."""
    if any(each.reduce_on_plateau and each.interval == "epoch" for each in trainer.lr_scheduler_configs):
        loop = trainer.fit_loop.epoch_loop
        loop.update_lr_schedulers = partial(_update, loop)


def _update(loop: Any, interval: str, update_plateau_schedulers: bool) -> None:
    at_epoch_end = interval == "epoch"
    if not (update_plateau_schedulers and at_epoch_end):
        type(loop).update_lr_schedulers(loop, interval, update_plateau_schedulers)
    # At the end of an epoch its other metrics are yet to come.
    if update_plateau_schedulers and (at_epoch_end or not loops.epoch_has_ended(loop.trainer)):
        for config in loop.trainer.lr_scheduler_configs:
            if config.reduce_on_plateau and config.interval == "epoch":
                _step(loop, config, at_epoch_end)


def _step(loop: Any, config: Any, at_epoch_end: bool) -> None:
    trainer = loop.trainer
    if not trainer.lightning_module.automatic_optimization or (trainer.current_epoch + 1) % config.frequency:
        return
    if fresh.is_fresh(trainer, config.monitor, at_epoch_end=at_epoch_end):
        loop.scheduler_progress.increment_ready()
        value = trainer.callback_metrics[config.monitor]
        call._call_lightning_module_hook(trainer, "lr_scheduler_step", config.scheduler, value)
        loop.scheduler_progress.increment_completed()
