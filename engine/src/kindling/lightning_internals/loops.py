"""The loops of `Trainer.fit`: their counters, which a save within a step finds half counted, and how they restart."""

import math
import sys
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler


def rewind(fit_loop: dict[str, Any], *, epoch: int, batch: int, ended: bool) -> None:
    """Set the saved counters, which a save finds in the middle of a step, to a batch boundary."""
    batches = fit_loop["epoch_loop.batch_progress"]
    batches["is_last_batch"] = False
    for loader in loader_states(fit_loop):
        # Others have a state of their own.
        if "batches_done" in loader:
            loader.update(epoch=epoch, batches_done=batch)
    if not ended:
        for counter in (batches["total"], batches["current"]):
            counter["ready"] -= 1
    elif batch:
        # If the run goes on, the epoch's rest is to come.
        count_epochs(fit_loop, -1)
    else:
        batches["current"] = dict.fromkeys(batches["current"], 0)


def loader_states(fit_loop: dict[str, Any]) -> list[dict[str, Any]]:
    """The saved states of the loaders of training, of those that have one."""
    return fit_loop.get("state_dict", {}).get("combined_loader", [])


def count_epochs(fit_loop: dict[str, Any], number: int) -> None:
    """Add a number of epochs to those that the saved counters call done."""
    for counter in fit_loop["epoch_progress"].values():
        counter["processed"] += number
        counter["completed"] += number


def total_steps(trainer: Trainer) -> float:
    """The optimizer steps of the whole training; Lightning's count knows of one number of batches a step alone."""
    steps, batches = _by_one_number(trainer), trainer.num_training_batches
    table, epochs = _accumulation(trainer), trainer.max_epochs
    if table is None or epochs in (None, -1) or math.isinf(batches):
        return steps
    by_table = sum(math.ceil(batches / table.get_accumulate_grad_batches(epoch)) for epoch in range(max(epochs, 1)))
    return by_table if trainer.max_steps == -1 else min(by_table, trainer.max_steps)


# Modules that know nothing of the engine ask the trainer.
_by_one_number = vars(Trainer)["estimated_stepping_batches"].fget
Trainer.estimated_stepping_batches = property(total_steps)  # pyright: ignore[reportAttributeAccessIssue]


def _restore_accumulation(trainer: Trainer) -> None:
    """Let a run that goes on within an epoch accumulate as that epoch does; Lightning looks where one begins."""
    table = _accumulation(trainer)
    if table:
        trainer.accumulate_grad_batches = table.get_accumulate_grad_batches(trainer.current_epoch)


def _accumulation(trainer: Trainer) -> GradientAccumulationScheduler | None:
    callbacks: list[Any] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    tables = [each for each in callbacks if isinstance(each, GradientAccumulationScheduler)]
    return tables[-1] if tables else None


def may_stop(trainer: Trainer) -> bool:
    """Whether training has come to `min_epochs` and `min_steps`; an epoch counts once callbacks hear of its end."""
    return trainer.fit_loop._can_stop_early


def validations(trainer: Trainer) -> int:
    """How many a run has that is not ended early, at least 1; to be asked while it trains."""
    batches = max(1, int(min(trainer.num_training_batches, 10**9)))
    epochs = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else 1000
    if trainer.max_steps > 0:
        epochs = min(epochs, trainer.max_steps * trainer.accumulate_grad_batches / batches)
    every = trainer.val_check_batch  # pyright: ignore[reportAttributeAccessIssue]
    by_batches = epochs * batches / every if every and trainer.check_val_every_n_epoch is None else 0
    by_epochs = epochs / (trainer.check_val_every_n_epoch or 1) * max(1, batches // every if every else 1)
    return max(1, int(by_batches or by_epochs))


def epoch_has_ended(trainer: Trainer) -> bool:
    """Whether all batches of the epoch are done."""
    return trainer.fit_loop.epoch_loop._num_ready_batches_reached()


def batches_done(trainer: Trainer) -> int:
    """The batches of this epoch that are done."""
    return trainer.fit_loop.epoch_loop.batch_progress.current.completed


def logged_step(trainer: Trainer) -> int:
    """The step that Lightning's loggers write next to a value."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def suspend_validation(trainer: Trainer) -> int | None:
    """Let no validation be due, as Lightning concludes before the first batch of a resumed run from the counters.

    Returns what `resume_validation` takes.
    """
    configured = trainer.check_val_every_n_epoch
    trainer.check_val_every_n_epoch = sys.maxsize
    return configured


def resume_validation(trainer: Trainer, configured: int | None) -> None:
    """Let validations be due as configured again."""
    trainer.check_val_every_n_epoch = configured


def end_restart(trainer: Trainer) -> None:
    """End the loop's restart, which would leave out the plateau schedule, and what begins with an epoch."""
    _restore_accumulation(trainer)
    trainer.fit_loop._restarting = False
