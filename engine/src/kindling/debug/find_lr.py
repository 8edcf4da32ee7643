"""The learning rate range test: which rate to train with."""

import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from kindling.console import shown, warn
from kindling.errors import KindlingError, counted
from kindling.files.whole_file import write_whole
from kindling.images.plots import plot_rates
from kindling.lightning_internals.batches import end_fit, forget_metrics
from kindling.ranges import Positive
from kindling.training.bookkeeping import is_summed
from kindling.training.net import refuse_manual_optimization
from kindling.training.observer import Observer
from kindling.training.task import Task

# A loss this many times the first has diverged.
DIVERGED = 3.0
# So many in a row, since small batches are noisy.
PATIENCE = 3
# Deviation, in steps, of the bell that smooths losses.
WIDTH = 4.0
# The share of the descent that counts as most.
DESCENT = 0.8
# Times the first loss, up to which the picture shows.
HIGHEST = 1.5
# Below this share of the first loss it has learnt.
LEARNT = 0.95
# With fewer steps an epoch, or in all, it suggests several times too much.
FEW_AN_EPOCH, FEW = 8, 40
# A rate is unusual beyond so many times the suggested one.
FACTOR = 10.0
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
        # Of the batches of a step, each a share of its mean.
        self._shares_of_loss: list[Any] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        because = "so that no one loss follows from a rate"
        refuse_manual_optimization(pl_module, "callbacks.find_lr", because)

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
        self._shares_of_loss.append(outputs["loss"].detach())
        # With accumulation a step takes several batches.
        if trainer.global_step == len(self.rates):
            return
        loss: Any = trainer.strategy.reduce(torch.stack(self._shares_of_loss).sum(), reduce_op="mean")
        self._shares_of_loss = []
        if is_summed(pl_module):
            # Else the epoch would log a mean over rates.
            pl_module.kindling_sums["train"].reset()
        self.rates.append(self._rate)
        self.losses.append(loss.item())
        if has_diverged(self.losses) or len(self.rates) == self.num_steps:
            self._conclude(trainer, pl_module)

    def _conclude(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # They are of steps at many rates.
        forget_metrics(trainer)
        if trainer.is_global_zero:
            self._show(pl_module)
            for problem in too_few(trainer.num_training_batches // trainer.accumulate_grad_batches, self.num_steps):
                warn(problem)
        # At the epoch's end a NaN would be refused.
        end_fit()

    def _show(self, pl_module: LightningModule) -> None:
        suggested = suggest(self.rates, self.losses)
        facts = {"suggested": suggested, "given": self._given, "lr": self.rates, "loss": self.losses}
        with write_whole(self.folder / "lr_find.json") as stream:
            json.dump(facts, stream)
        picture = self.folder / "lr_find.png"
        marked = {"suggested": suggested, "given": self._given}
        plot_rates(self.rates, self.losses, smoothed(self.losses, HIGHEST * self.losses[0]).tolist(), marked, picture)
        # Other modules have rates of their own.
        key = "optimizer.lr" if isinstance(pl_module, Task) and pl_module.optimizer else "lr"
        log.info("the range test suggests %s=%g; its curve: %s", key, suggested, shown(picture))
        for problem in rate_is_near(self._given, suggested, key):
            warn(problem)


def rate_is_near(given: float, suggested: float, key: str = "optimizer.lr") -> Iterator[str]:
    if not 1 / FACTOR <= given / suggested <= FACTOR:
        yield (
            f"{key}: given {given:g}; usual: within {FACTOR:g} times of what the range test suggests, "
            f"{suggested:g}; try {key}={suggested:g}"
        )


def too_few(steps_an_epoch: float, num_steps: int) -> Iterator[str]:
    """What makes a suggestion too high: the same batches again and again, or few rates."""
    if steps_an_epoch < FEW_AN_EPOCH:
        yield (
            f"callbacks.find_lr: given {counted(max(steps_an_epoch, 1), 'step')} an epoch, so that {num_steps} steps "
            "see the same batches again and again, and the suggestion is up to 5 times too high; "
            f"allowed: {FEW_AN_EPOCH} or more, by a smaller data.batch_size; or try a third of the suggestion too"
        )
    if num_steps < FEW:
        yield (
            f"callbacks.find_lr.num_steps: given {num_steps}, of which the suggestion is rough and often too high; "
            f"allowed: {FEW} or more"
        )


def has_diverged(losses: list[float]) -> bool:
    """Whether the last loss is NaN, or the last few are far above the first; one alone may be that of a hard batch."""
    # Negated, so that NaN counts too.
    far = [not loss < DIVERGED * losses[0] for loss in losses[-PATIENCE:]]
    return not math.isfinite(losses[-1]) or (len(far) == PATIENCE and all(far))


def smoothed(losses: list[float], most: float) -> Tensor:
    """Of each step (N,), by a bell over the steps around it; what diverges counts as `most`."""
    steps = torch.arange(len(losses), dtype=torch.float64)
    # Losses that diverge would drown the rest.
    values = steps.new_tensor(losses).nan_to_num(most, most).clamp(max=most)
    weights = torch.exp(-0.5 * ((steps[:, None] - steps) / WIDTH) ** 2)
    return weights @ values / weights.sum(1)


def suggest(rates: list[float], losses: list[float]) -> float:
    """A third of the way, by logarithm, through the rates at which the loss has made most of its descent.

    Its bounds move less than the steepest or the lowest point, which noise decides on a flat curve.

    Raises:
        KindlingError: no rate has lowered the loss.
    """
    start, curve = losses[0], smoothed(losses, losses[0])
    lowest = curve.min()
    if lowest > LEARNT * start:
        raise KindlingError(
            f"callbacks.find_lr: no rate from {rates[0]:g} to {rates[-1]:g} lowers the loss from {start:.4f}; "
            "give a higher max_lr or more num_steps, or look for a bug with debug=overfit"
        )

    good = (curve <= lowest + (1 - DESCENT) * (curve[0] - lowest)).nonzero().flatten().tolist()
    first, last = rates[good[0]], rates[good[-1]]
    return float(f"{first * (last / first) ** (1 / 3):.2g}")
