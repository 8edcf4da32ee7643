"""The loops of `Trainer.fit`: their counters, which a save within a step finds half counted, and how they restart."""

import sys
from typing import Any

from lightning.pytorch import Trainer


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
    """End the loop's restart; else it leaves out the plateau schedule at the end of the epoch."""
    trainer.fit_loop._restarting = False
