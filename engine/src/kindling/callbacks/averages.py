"""Averages of the weights; once there is one, it is what is validated, saved as the model, and tested."""

import math
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging, WeightAveraging
from torch import Tensor

from kindling.console import warn
from kindling.lightning_internals.loops import total_steps
from kindling.ranges import Fraction, NotNegativeInt, PositiveInt

# Share of the first weights above which an average is of no use.
MOST_LEFT = 0.1


class OnceBegun(WeightAveraging):
    """Lightning's averages, which it validates and saves before they begin, as the weights at the start; and does
    not test.
    """

    @property
    def _has_begun(self) -> bool:
        return self._average_model is not None and bool(self._average_model.n_averaged)

    def _swap_models(self, pl_module: LightningModule) -> None:
        if self._has_begun:
            super()._swap_models(pl_module)

    def _copy_average_to_current(self, pl_module: LightningModule) -> None:
        if self._has_begun:
            super()._copy_average_to_current(pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._has_begun:
            super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == "fit" and "averaging_state" in checkpoint:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)


class EMA(OnceBegun, EMAWeightAveraging):
    """An exponential moving average, over optimizer steps.

    Args:
        decay: of the average at each update.
        update_every_n_steps: optimizer steps.
        update_starting_at_step: the first steps are left out; None for none.
    """

    def __init__(
        self, decay: Fraction, update_every_n_steps: PositiveInt, update_starting_at_step: NotNegativeInt | None
    ):
        super().__init__(
            decay=decay, update_every_n_steps=update_every_n_steps, update_starting_at_step=update_starting_at_step
        )
        self.decay, self.every = decay, update_every_n_steps
        # Lightning's own function is a closure, which no process that is spawned can be given.
        self._kwargs["avg_fn"] = partial(moving_average, decay)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        steps = total_steps(trainer) - (self.update_starting_at_step or 0)
        # The first one starts the average.
        share = self.decay ** max(steps // self.every - 1, 0)
        if share > MOST_LEFT and not trainer.fast_dev_run:  # pyright: ignore[reportAttributeAccessIssue]
            warn(too_slow(self.decay, max(steps // self.every, 0), share))


def too_slow(decay: float, updates: float, share: float) -> str:
    """What is wrong with an average that keeps most of the weights that it began with."""
    begins = updates > 1
    fitting = math.floor(1000 * MOST_LEFT ** (1 / (updates - 1))) / 1000 if begins else 0
    allowed = f"at most {fitting:g}, or more steps" if begins else "fewer steps between updates, or more in all"
    return (
        f"callbacks.ema.decay: given {decay:g} for {updates:.0f} updates, of which {share:.0%} of the average is still "
        f"the weights of the first; allowed: {allowed}"
    )


@torch.no_grad()
def moving_average(decay: float, average: Tensor, current: Tensor, num_averaged: Tensor | int) -> Tensor:
    """As the function that `torch.optim.swa_utils.get_ema_avg_fn` makes."""
    return decay * average + (1 - decay) * current


class SWA(OnceBegun):
    """The mean of the weights at the end of each epoch from one on (stochastic weight averaging, arXiv 1803.05407).

    Statistics of batch norm are averaged alike, in place of the paper's further pass over the images.

    Args:
        start_epoch: the first of these epochs, counted from 0.
    """

    def __init__(self, start_epoch: NotNegativeInt):
        super().__init__()
        self.start_epoch = start_epoch
        self._is_due = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._is_due = trainer.is_last_batch and trainer.current_epoch >= self.start_epoch
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        # After the epoch's last step, so that it is validated.
        return step_idx is not None and self._is_due
