"""Batches of training that a rollback leaves out."""

from collections.abc import Sequence
from functools import wraps
from typing import Any

from lightning.pytorch import LightningModule

from kindling.lightning_internals import results


def leave_out(module: LightningModule, batches: Sequence[list[int]]) -> None:
    """Skip these batches of training, each given as [epoch, batch]."""
    step, trainer = module.training_step, module.trainer

    @wraps(step)
    def training_step(*arguments: Any) -> Any:
        if [trainer.current_epoch, trainer.fit_loop.batch_idx] in batches:
            # Else the last step's values would be logged again.
            results.forget_step_values(trainer)
            return None
        return step(*arguments)

    module.training_step = training_step
