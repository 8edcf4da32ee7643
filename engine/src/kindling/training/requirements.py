"""What a LightningModule and its data must bring, held against the config before anything is trained."""

import math

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.model_helpers import is_overridden

from kindling.checkpoints.checkpoint import config_of
from kindling.config.rules.callback_rules import OF_VALIDATION
from kindling.console import warn
from kindling.data.datamodule import DataModule
from kindling.data.examples import num_examples
from kindling.errors import ConfigError, DataError

# Steps an epoch that are few enough to ask for more.
USUAL_STEPS = 8


def refuse_unfit(task: LightningModule, data: LightningDataModule | None) -> None:
    """
    Raises:
        ConfigError: something is missing without which nothing can be trained.
    """
    name = type(task).__name__
    for method in ("training_step", "configure_optimizers"):
        if not is_overridden(method, task):
            raise ConfigError(f"task: given {name}, which has no {method}; write it, or take another task")
    owner, base = (task, LightningModule) if data is None else (data, LightningDataModule)
    if not is_overridden("train_dataloader", owner, base):
        meant = f"{name} has no train_dataloader" if data is None else "it has no train_dataloader"
        given = "null" if data is None else type(data).__name__
        raise ConfigError(f"data: given {given}, and {meant}; write it, or take other data")


def refuse_other_interval(trainer: Trainer, module: LightningModule) -> None:
    """Of a module that makes the config's schedule itself.

    Raises:
        ConfigError: it steps the schedule at other times than the config says.
    """
    node = config_of(trainer).get("scheduler") or {}
    expected = node.get("interval")
    for each in trainer.lr_scheduler_configs if module.automatic_optimization else []:
        if expected and each.interval != expected:
            raise ConfigError(
                f"scheduler.interval: given {expected}, and {type(module).__name__} steps the schedule every "
                f"{each.interval}; allowed: scheduler.interval={each.interval}, or scheduler=none"
            )


def watch_the_last_epoch(trainer: Trainer) -> None:
    """Where nothing is validated, let the last epoch be the best, in place of a metric of validation."""
    nothing = not trainer.enable_validation or (
        trainer.val_dataloaders is not None and not sum(trainer.num_val_batches)
    )
    if trainer.fast_dev_run or not nothing:  # pyright: ignore[reportAttributeAccessIssue]
        return
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and OF_VALIDATION.match(callback.monitor or ""):
            warn(f"monitor: {callback.monitor}, while nothing is validated; the last epoch is taken as the best")
            callback.monitor = None


def warn_of_rare_logs(trainer: Trainer) -> None:
    """In place of Lightning's own words, which name no setting of a config."""
    if few := one_step(trainer):
        warn(few)
        return
    every: int = trainer.log_every_n_steps  # pyright: ignore[reportAttributeAccessIssue]
    batches = trainer.num_training_batches
    if trainer.loggers and batches < every and not trainer.fast_dev_run:  # pyright: ignore[reportAttributeAccessIssue]
        warn(
            f"trainer.log_every_n_steps: given {every} with {batches} batches an epoch, so that some epochs log no "
            f"step; allowed: 1 to {batches}"
        )


def one_step(trainer: Trainer) -> str:
    """What is said of an epoch of one step, if a smaller batch would give more; "" of others."""
    data = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
    is_whole = trainer.limit_train_batches == 1.0 and isinstance(trainer.limit_train_batches, float)
    overfits = getattr(trainer, "overfit_batches", 0)
    if not isinstance(data, DataModule) or trainer.num_training_batches != 1 or not is_whole or overfits:
        return ""
    try:
        num = num_examples(data.splits.train)
    except DataError:
        # Loaders and streams do not say.
        return ""
    size = 2 ** max(1, math.floor(math.log2(max(1, (num - 1) / trainer.world_size / (USUAL_STEPS - 1)))))
    if size >= data.batch_size:
        return ""
    return (
        f"data.batch_size: given {data.batch_size} for {num} training examples, which is 1 step an epoch; "
        f"usual: {USUAL_STEPS} or more; set data.batch_size={size}"
    )


def metrics_watched(trainer: Trainer) -> list[str]:
    """The metrics that callbacks and schedules look up by name."""
    # Of other schedules Lightning reads no metric.
    plateaus = [each for each in trainer.lr_scheduler_configs if each.reduce_on_plateau]
    watchers = [*trainer.callbacks, *plateaus]  # pyright: ignore[reportAttributeAccessIssue]
    found = [getattr(each, "monitor", None) for each in watchers]
    return list(dict.fromkeys(each for each in found if isinstance(each, str)))
