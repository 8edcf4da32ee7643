"""The counters of Lightning's loops, which a save within a step finds half counted."""

from typing import Any


def rewind(fit_loop: dict[str, Any], *, epoch: int, batch: int, ended: bool) -> None:
    """Set the counters of Lightning's loops, which a save finds in the middle of a step, to a batch boundary."""
    batches = fit_loop["epoch_loop.batch_progress"]
    batches["is_last_batch"] = False
    fit_loop["combined_loader"] = [{"epoch": epoch, "batches_done": batch}]
    if not ended:
        for counter in (batches["total"], batches["current"]):
            counter["ready"] -= 1
    elif batch:  # the rest of the epoch is still to come, if the run is continued
        count_epoch(fit_loop, -1)
    else:
        batches["current"] = dict.fromkeys(batches["current"], 0)


def count_epoch(fit_loop: dict[str, Any], number: int) -> None:
    """Add a number of epochs to those that are done."""
    for counter in fit_loop["epoch_progress"].values():
        counter["processed"] += number
        counter["completed"] += number
