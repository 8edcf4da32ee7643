"""The learning rate range test: which rate to train with."""

import json
import logging
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge
from lightning.pytorch import LightningModule, Trainer

from kindling.console import warn
from kindling.errors import KindlingError
from kindling.files.whole_file import write_whole
from kindling.images.doctor.training_rules import rate_is_near
from kindling.images.plots import plot_rates
from kindling.ranges import Positive
from kindling.training.observer import Observer
from kindling.training.sums import LOSS, NUM

# A loss this many times the first has diverged.
DIVERGED = 3.0
# Deviation, in steps, of the bell that smooths losses.
WIDTH = 4.0
# The share of the descent that counts as most.
DESCENT = 0.8
# Below this share of the first loss it has learnt.
LEARNT = 0.95
log = logging.getLogger(__name__)


class FindLR(Observer):
    """Trains with rates that rise from step to step and suggests one (arXiv 1506.01186); lr_find.png and lr_find.json.

    Lightning's LearningRateFinder gives all parameter groups one rate, averages the losses over fifty steps, and takes
    the steepest slope over the rate instead of over its logarithm, so that it suggests rates far too low.

    Args:
        folder: of the run.
        min_lr: of the first step.
        max_lr: of the last step, if the loss has not diverged before.
        num_steps: from one to the other.
    """

    def __init__(self, *, folder: str, min_lr: Positive, max_lr: Positive, num_steps: Annotated[int, Ge(2)]):
        self.folder = Path(folder)
        self.min_lr, self.max_lr, self.num_steps = min_lr, max_lr, num_steps
        self.rates: list[float] = []
        self.losses: list[float] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set what the command may have set for a training."""
        trainer.fit_loop.max_epochs, trainer.fit_loop.epoch_loop.max_steps = -1, self.num_steps
        # At a logged step a NaN would be refused.
        trainer.log_every_n_steps = 0  # pyright: ignore[reportAttributeAccessIssue]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        groups = trainer.optimizers[0].param_groups
        self._given: float = trainer.optimizers[0].defaults["lr"]
        # Muon's groups have rates of their own.
        self._shares = [group["lr"] / self._given for group in groups]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._rate = self.min_lr * (self.max_lr / self.min_lr) ** (trainer.global_step / (self.num_steps - 1))
        for group, share in zip(trainer.optimizers[0].param_groups, self._shares, strict=True):
            group["lr"] = self._rate * share

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        # With accumulation a step takes several batches.
        if trainer.global_step == len(self.rates):
            return
        sums = pl_module.sums["train"].reduced(trainer)
        # Else the epoch would log a mean over rates.
        pl_module.sums["train"].reset()
        self.rates.append(self._rate)
        self.losses.append((sums[LOSS] / sums[NUM]).item())
        # Negated, so that NaN counts as diverged.
        diverged = not self.losses[-1] < DIVERGED * self.losses[0]
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


def suggest(rates: list[float], losses: list[float]) -> float:
    """A third of the way, by logarithm, through the rates at which the loss has made most of its descent.

    Its bounds move less than the steepest or the lowest point, which noise decides on a flat curve.

    Raises:
        KindlingError: no rate has lowered the loss.
    """
    start = losses[0]
    steps = torch.arange(len(losses), dtype=torch.float64)
    # Losses that diverge would drown the rest.
    values = steps.new_tensor(losses).nan_to_num(start, start).clamp(max=start)
    weights = torch.exp(-0.5 * ((steps[:, None] - steps) / WIDTH) ** 2)
    curve = weights @ values / weights.sum(1)
    lowest = curve.min()
    if lowest > LEARNT * start:
        raise KindlingError(
            f"callbacks.find_lr: no rate from {rates[0]:g} to {rates[-1]:g} lowers the loss from {start:.4f}; "
            "give a higher max_lr or more num_steps, or look for a bug with debug=overfit"
        )

    good = (curve <= lowest + (1 - DESCENT) * (curve[0] - lowest)).nonzero().flatten().tolist()
    first, last = rates[good[0]], rates[good[-1]]
    return float(f"{first * (last / first) ** (1 / 3):.2g}")
