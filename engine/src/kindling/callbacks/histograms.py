"""Histograms of weights and gradients."""

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from kindling.callbacks.drawing import TensorBoardCallback, current_step, writers
from kindling.callbacks.gradients import unscaled_gradients
from kindling.ranges import PositiveInt


class Histograms(TensorBoardCallback):
    """Of each parameter's gradient in the last step of an epoch, before clipping, and of its values before that step.

    Args:
        every_n_epochs: epochs between two, of which the first is the first.
    """

    def __init__(self, every_n_epochs: PositiveInt):
        super().__init__()
        self.every_n_epochs: int = every_n_epochs

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if not trainer.is_last_batch or trainer.current_epoch % self.every_n_epochs or not writers(trainer):
            return
        self._draw(trainer, "weights", dict(pl_module.named_parameters()))
        # A later hook finds gradients cleared by a validation.
        self._draw(trainer, "gradients", unscaled_gradients(trainer, pl_module, optimizer))

    def _draw(self, trainer: Trainer, kind: str, tensors: dict[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            values = tensor.detach().float().flatten().cpu()
            # In mixed precision a gradient may overflow.
            values = values[values.isfinite()]
            for writer in writers(trainer) if len(values) else ():
                writer.add_histogram(f"{kind}/{name}", values, current_step(trainer))
