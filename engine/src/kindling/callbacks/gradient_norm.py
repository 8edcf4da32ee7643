"""The total norm of the gradients, in every logger."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from kindling.callbacks.drawing import current_step
from kindling.callbacks.gradients import unscaled_gradients
from kindling.lightning_internals.steps import is_logged_step


class GradientNorm(Callback):
    """Logs train/grad_norm, of all gradients together before clipping, each `trainer.log_every_n_steps`."""

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if not is_logged_step(trainer):
            return
        gradients: Any = list(unscaled_gradients(trainer, pl_module, optimizer).values())
        # A batch left out by a rollback has none.
        if not gradients:
            return
        norm = get_total_norm(gradients).item()
        # `log` would count it among the run's metrics.
        for logger in trainer.loggers:
            logger.log_metrics({"train/grad_norm": norm}, step=current_step(trainer))
