"""What a LightningModule and its data must bring, held against the config before anything is trained."""

import math
from contextlib import suppress
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.utils._pytree import tree_leaves

from kindling.checkpoints.checkpoint import config_of
from kindling.config.rules.callback_rules import OF_VALIDATION, shipped
from kindling.console import warn
from kindling.data.datamodule import DataModule
from kindling.data.examples import num_examples
from kindling.errors import ConfigError, DataError, counted, one_to

# Steps an epoch that are few enough to ask for more.
USUAL_STEPS = 8
# A share of the examples that is worth a word.
LEFT_OVER = 0.1


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
    if trainer.fast_dev_run or not validates_nothing(trainer):  # pyright: ignore[reportAttributeAccessIssue]
        return
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and OF_VALIDATION.match(callback.monitor or ""):
            warn(f"monitor: {callback.monitor}, while nothing is validated; the last epoch is taken as the best")
            callback.monitor = None


def validates_nothing(trainer: Trainer) -> bool:
    has_no_batches = trainer.val_dataloaders is not None and not sum(trainer.num_val_batches)
    return not trainer.enable_validation or has_no_batches


def warn_of_amounts(trainer: Trainer) -> None:
    """What is said of steps, examples and validations before the first step."""
    warn_of_rare_logs(trainer)
    warn_of_examples_left_over(trainer)
    if not trainer.fast_dev_run:  # pyright: ignore[reportAttributeAccessIssue]
        warn_of_validations(trainer)


def warn_of_rare_logs(trainer: Trainer) -> None:
    """In place of Lightning's own words, which name no setting of a config."""
    if few := one_step(trainer):
        warn(few)
        return
    every: int = trainer.log_every_n_steps  # pyright: ignore[reportAttributeAccessIssue]
    batches = trainer.num_training_batches
    # Of a value that nobody has chosen nothing is said: the epochs are logged in any case.
    is_chosen = every not in shipped("trainer", "log_every_n_steps")
    if is_chosen and trainer.loggers and batches < every and not trainer.fast_dev_run:  # pyright: ignore[reportAttributeAccessIssue]
        warn(
            f"trainer.log_every_n_steps: given {every}, and an epoch has {counted(batches, 'batch')}, so that some "
            f"epochs log no step; allowed: {one_to(batches)}"
        )


def one_step(trainer: Trainer) -> str:
    """What is said of an epoch of one step, if a smaller batch would give more; "" of others."""
    data = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
    is_whole = trainer.limit_train_batches == 1.0 and isinstance(trainer.limit_train_batches, float)
    if not is_whole or getattr(trainer, "overfit_batches", 0):
        return ""
    batches, accumulated = trainer.num_training_batches, trainer.accumulate_grad_batches
    if 1 < batches <= accumulated:
        return (
            f"trainer.accumulate_grad_batches: given {accumulated} for {counted(batches, 'batch')}, which is 1 step an "
            f"epoch; usual: {USUAL_STEPS} or more; set trainer.accumulate_grad_batches={max(1, batches // USUAL_STEPS)}"
        )
    if not isinstance(data, DataModule) or batches != 1:
        return ""
    try:
        num = num_examples(data.splits.train)
    except DataError:
        # Loaders and streams do not say.
        return ""
    if num - data.own_batch_size * trainer.world_size >= LEFT_OVER * num:
        # What is left over is said elsewhere.
        return ""
    size = 2 ** max(1, math.floor(math.log2(max(1, (num - 1) / trainer.world_size / (USUAL_STEPS - 1)))))
    if size >= data.own_batch_size:
        return ""
    return (
        f"data.batch_size: given {data.batch_size} for {counted(num, 'training example')}, which is 1 step an epoch; "
        f"usual: {USUAL_STEPS} or more; set data.batch_size={size * sharing(trainer)}"
    )


def sharing(trainer: Trainer) -> int:
    """How many processes share what data.batch_size says."""
    data = getattr(trainer, "datamodule", None)
    return trainer.world_size if isinstance(data, DataModule) and data.shares_batches else 1


def refuse_shares_of_nothing(trainer: Trainer, module: LightningModule, stage: str) -> None:
    """At once, since Lightning looks at the batches of a split only when it comes to it.

    Raises:
        ConfigError: a share of a split's batches is less than one.
    """
    data = getattr(trainer, "datamodule", None) or module
    tested = bool(config_of(trainer).get("test"))
    for split in {"fit": ("train", "val", *["test"] * tested), "test": ("test",)}.get(stage, ()):
        share = getattr(trainer, f"limit_{split}_batches")
        least = _fewest(data, split) if isinstance(share, float) and 0 < share < 1 else 0
        if least and int(least * share) == 0:
            overfits = trainer.overfit_batches and split != "test"  # pyright: ignore[reportAttributeAccessIssue]
            raise ConfigError(
                share_of_nothing("overfit_batches" if overfits else f"limit_{split}_batches", share, least)
            )


def _fewest(data: LightningDataModule | LightningModule, split: str) -> int:
    """The batches of a split's shortest loader; 0 if it is not known."""
    # Foreign data may not be set up for a test yet.
    with suppress(Exception):
        return min(len(loader) for loader in tree_leaves(getattr(data, f"{split}_dataloader")()))
    return 0


def share_of_nothing(flag: str, share: float, batches: int) -> str:
    # Rounded up, as a little less is none.
    least = f"{math.ceil(1000 / batches) / 1000} to " if batches > 1 else ""
    return (
        f"trainer.{flag}: given {share} of {counted(batches, 'batch')}, which is none; "
        f"allowed: {least}1.0, or a number of batches"
    )


def warn_of_examples_left_over(trainer: Trainer) -> None:
    """Of each epoch, since only full batches are trained; another part of them each time, if they are shuffled."""
    whole = isinstance(trainer.limit_train_batches, float) and trainer.limit_train_batches == 1
    if not whole or trainer.overfit_batches or trainer.fast_dev_run:  # pyright: ignore[reportAttributeAccessIssue]
        return
    for loader in tree_leaves(trainer.train_dataloader):
        total, size = num_in(loader), getattr(loader, "batch_size", None) or 0
        left = total - len(loader) * size * trainer.world_size if size else 0
        if left > 0 and left >= LEFT_OVER * total:
            better = best_batch_size(total // trainer.world_size, size)
            rest = total - total // trainer.world_size // better * better * trainer.world_size
            warn(
                f"data.batch_size: given {size * sharing(trainer)} for {total} training examples, of which each epoch "
                f"leaves out {left}; data.batch_size={better * sharing(trainer)} leaves out {rest or 'none'}"
            )


def num_in(loader: Any) -> int:
    """How many examples a loader has that leaves out the last batch if it is not full; 0 of any other loader."""
    drops = getattr(loader, "train", False) or getattr(loader, "drop_last", False)
    try:
        return num_examples(loader.dataset) if drops else 0
    except (AttributeError, DataError):
        return 0


def best_batch_size(total: int, most: int) -> int:
    """The largest that leaves out none, not below a quarter of `most`; else the one that leaves out fewest."""
    return min(range(most, max(1, most // 4) - 1, -1), key=lambda size: total % size)


def warn_of_validations(trainer: Trainer) -> None:
    """Of one after each batch that a share has asked for unawares, or of none before training ends."""
    share, batches = trainer.val_check_interval, trainer.num_training_batches
    if isinstance(share, float) and share * batches < 1 < batches < math.inf:
        warn(
            f"trainer.val_check_interval: given {share} of {counted(batches, 'batch')}, a validation after each batch; "
            f"allowed: {math.ceil(1000 / batches) / 1000} to 1.0, or a number of batches"
        )
    first, last = first_validated(trainer), last_trained(trainer)
    if last < first < math.inf and any(OF_VALIDATION.match(each) for each in metrics_watched(trainer)):
        warn(
            f"monitor: training ends after {counted(last, 'batch')}, and the first validation is after {first}, so "
            "that nothing is the best; allowed: more epochs or steps, or a smaller trainer.val_check_interval"
        )


def first_validated(trainer: Trainer) -> float:
    """The number of batches from the start of training to the end of which the first validation comes."""
    every, after = trainer.check_val_every_n_epoch, trainer.val_check_batch
    # The config's check has a word on more epochs than there are.
    too_late = every and trainer.max_epochs and 0 < trainer.max_epochs < every
    # None where a clock decides.
    if not trainer.enable_validation or after is None or too_late:
        return math.inf
    return after + (every - 1) * trainer.num_training_batches if every else after


def last_trained(trainer: Trainer) -> float:
    """The number of batches that training has, if nothing ends it before."""
    batches, accumulated = trainer.num_training_batches, trainer.accumulate_grad_batches
    by_epochs = trainer.max_epochs * batches if trainer.max_epochs and trainer.max_epochs > 0 else math.inf
    if trainer.max_steps < 0 or batches == math.inf:
        return by_epochs if trainer.max_steps < 0 else min(by_epochs, trainer.max_steps * accumulated)
    epochs, steps = divmod(trainer.max_steps, math.ceil(batches / accumulated))
    return min(by_epochs, epochs * batches + steps * accumulated)


def metrics_watched(trainer: Trainer) -> list[str]:
    """The metrics that callbacks and schedules look up by name."""
    # Of other schedules Lightning reads no metric.
    plateaus = [each for each in trainer.lr_scheduler_configs if each.reduce_on_plateau]
    watchers = [*trainer.callbacks, *plateaus]  # pyright: ignore[reportAttributeAccessIssue]
    found = [getattr(each, "monitor", None) for each in watchers]
    return list(dict.fromkeys(each for each in found if isinstance(each, str)))
